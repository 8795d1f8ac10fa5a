//! firn-loadgen
fn main() {}
