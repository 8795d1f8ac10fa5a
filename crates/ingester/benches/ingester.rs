//! Encoding, appending, cutting and selecting.
fn main() {}
