//! The binary is what its name says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_firn-compactor")).args(arguments).output().unwrap()
}

#[test]
fn the_binary_plays_its_role_and_no_other() {
    assert!(run(&["-config.verify"]).status.success());
    assert!(run(&["-config.verify", "-target=compactor"]).status.success());
    let refused = run(&["-config.verify", "-target=querier"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("which has: compactor"), "{text}");
}
