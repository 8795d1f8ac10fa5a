//! Runs Firn: all roles in one process, or one of them.

fn main() -> std::process::ExitCode {
    app::run(firn::ROLES)
}
