//! What is encoded comes back: by a decoder of its own, written after Prometheus's description of its chunks.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod decode;
mod roundtrip;
mod shapes;
