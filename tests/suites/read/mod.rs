//! Series leave Firn as they are: a real Prometheus reads them remotely and evaluates queries itself, another one scrapes
//! them from `/federate`, and exports are read by DuckDB and pyarrow.

mod data;
mod export;
mod federate;
mod refused;
mod remote;
mod sampled;

use system_tests::{Firn, FirnOptions};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

fn start(dir: &tempfile::TempDir, flags: &[&str]) -> Firn {
    Firn::start(FIRN, dir.path(), &FirnOptions::flags(flags)).unwrap()
}
