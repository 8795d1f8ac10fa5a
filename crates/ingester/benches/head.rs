//! The head, stage by stage.
fn main() {}
