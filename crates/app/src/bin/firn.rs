//! Runs Firn: all roles in one process.

fn main() -> std::process::ExitCode {
    app::run()
}
