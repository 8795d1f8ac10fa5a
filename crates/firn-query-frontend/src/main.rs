//! Runs one query-frontend.

fn main() -> std::process::ExitCode {
    app::run(&[firn_query_frontend::ROLE])
}
