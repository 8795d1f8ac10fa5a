use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Of the memory limit, what the allocator may keep for the next query. To give it back to the kernel and to take it
/// again is a quarter of what a query over a day costs.
const KEPT_SHARE: u64 = 32;

/// The most and the least that it keeps.
const KEPT_BYTES: (u64, u64) = (1 << 20, 16 << 20);

/// What glibc's allocator reads when a process starts: few arenas, free memory given back to the kernel beyond so many
/// bytes, blocks of a quarter of that straight from it. By default each thread may keep what its queries once needed:
/// after a few queries over 10,000 series and a flush, a process held 60 MiB of which it used 10.
fn settings(memory_limit: u64) -> [(&'static str, String); 3] {
    let (least, most) = KEPT_BYTES;
    let kept = if memory_limit == 0 { most } else { (memory_limit / KEPT_SHARE).clamp(least, most) };
    [
        ("MALLOC_ARENA_MAX", 2.to_string()),
        ("MALLOC_TRIM_THRESHOLD_", kept.to_string()),
        ("MALLOC_MMAP_THRESHOLD_", (kept / 4).to_string()),
    ]
}

/// Makes the allocator keep to what is used: starts this program anew, as the same process, with the settings in its
/// environment. Does nothing when any of them is set already.
pub(crate) fn keep_lean(memory_limit: u64) {
    let settings = settings(memory_limit);
    if settings.iter().any(|(name, _)| env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Returns only when it fails; then memory is held less tightly, which is no reason not to run.
    let _failed = command.args(arguments).envs(settings).exec();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_limit_lets_little_be_kept() {
        let kept = |limit: u64| settings(limit)[1].1.parse::<u64>().map(|kept| kept >> 20);
        assert_eq!([kept(16 << 20), kept(256 << 20), kept(64 << 30), kept(0)], [1, 8, 16, 16].map(Ok));
    }
}
