//! Runs one compactor.

fn main() -> std::process::ExitCode {
    app::run(&[firn_compactor::ROLE])
}
