//! Firn with its fault points armed: what the system tests start and kill.

fn main() -> std::process::ExitCode {
    app::run(firn::ROLES)
}
