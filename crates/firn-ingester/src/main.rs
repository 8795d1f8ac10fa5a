//! Runs one ingester.

fn main() -> std::process::ExitCode {
    app::run(&[firn_ingester::ROLE])
}
