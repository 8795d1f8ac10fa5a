//! The load generator, so that tests can start it.

fn main() -> std::process::ExitCode {
    loadgen::main()
}
