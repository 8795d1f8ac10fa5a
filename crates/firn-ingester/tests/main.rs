//! The binary is what its name says.

use testkit::role::RoleBinary;

#[test]
fn the_binary_plays_its_role_and_no_other_comes_up_and_ends_when_it_is_told_to() {
    let binary = RoleBinary {
        path: env!("CARGO_BIN_EXE_firn-ingester"),
        role: "ingester",
        flags: &["-cluster.members=ingester-0=127.0.0.1:9095"],
        ready: "ready",
    };
    binary.check().unwrap();
}
