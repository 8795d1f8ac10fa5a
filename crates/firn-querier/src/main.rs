//! Runs one querier.

fn main() -> std::process::ExitCode {
    app::run(&[firn_querier::ROLE])
}
