//! The binary is what its name says.

use testkit::role::RoleBinary;

#[test]
fn the_binary_plays_its_role_and_no_other_comes_up_and_ends_when_it_is_told_to() {
    let binary = RoleBinary {
        path: env!("CARGO_BIN_EXE_firn-query-frontend"),
        role: "query-frontend",
        flags: &[],
        ready: "no querier is connected",
    };
    binary.check().unwrap();
}
