//! `firn-loadgen`; the crate of the same name says what it is.

fn main() -> std::process::ExitCode {
    loadgen::main()
}
