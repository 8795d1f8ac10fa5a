//! Bytes between processes: batches and columns, as docs/format/batch.md has them.

mod batch;
mod columns;
mod histogram;

pub use batch::{decode_batch, encode_batch, encode_parts, labels_len_of};
pub use columns::{BytesError, Reader, put_f64s, put_i64s, put_varint};
pub use histogram::{put_histogram, take_histogram};
