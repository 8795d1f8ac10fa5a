//! Runs one distributor.

fn main() -> std::process::ExitCode {
    app::run(&[firn_distributor::ROLE])
}
