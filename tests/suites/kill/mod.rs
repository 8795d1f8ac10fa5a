//! Nothing acknowledged is lost, and nothing is there twice, however the process dies.

mod damage;
mod full_disk;
mod gap;
mod ledger;
mod points;
mod processes;
mod random;
mod table;

use system_tests::FirnOptions;

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// Small segments, short windows and frequent checkpoints, so that everything that happens in a day happens in a
/// second.
fn options(flags: &[&str]) -> FirnOptions {
    let mut options = FirnOptions::flags(&[
        "-ingester.wal.segment-bytes=65536",
        "-ingester.wal.max-bytes=1073741824",
        "-bucket.checkpoint-interval=3",
        "-ingester.retry-min=50ms",
        "-limits.defaults.max-native-histogram-buckets=0",
    ]);
    options.flags.extend(flags.iter().map(ToString::to_string));
    options
}
