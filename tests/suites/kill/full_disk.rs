//! A full disk, on a small file system of its own where the test may mount one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use system_tests::{Firn, now_ms, wait_until};

use super::ledger::{Ledger, Stream};
use super::{FIRN, options};

/// A file system in memory; unmounted when it is dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// `None`, said aloud, where this user may not mount; where parts are required that is a failure.
    fn mount(path: &Path, mib: u32) -> Option<SmallDisk> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={mib}m");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        match output {
            Ok(output) if output.status.success() => Some(SmallDisk { path: path.to_path_buf() }),
            other => {
                let required = env::var("FIRN_REQUIRE_PARTS").is_ok_and(|value| value == "1");
                assert!(!required, "a small file system is required and cannot be mounted: {other:?}");
                eprintln!("SKIPPED: this user may not mount a small file system to fill: {other:?}");
                None
            }
        }
    }

    /// Fills what is left but `kib` KiB; removing the file frees it again.
    fn fill(&self, leave_kib: u64) -> PathBuf {
        let file = self.path.join("ballast");
        let stat = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.path).output().unwrap();
        let text = String::from_utf8(stat.stdout).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let free = numbers[0] * numbers[1];
        fs::write(&file, vec![0u8; free.saturating_sub(leave_kib << 10) as usize]).unwrap();
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_under_the_log_refuses_pushes_by_name_and_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("wal"), 8) else { return };
    let mut firn = Firn::start(FIRN, dir.path(), &options(&[])).unwrap();
    let mut ledger = Ledger::new(Stream { id: 0, base_ms: now_ms() - 1_800_000, step_ms: 250 });
    for _ in 0..20 {
        assert!(ledger.push(firn.url()).unwrap());
    }
    let ballast = disk.fill(100);
    let mut refusal = None;
    for _ in 0..2_000 {
        let before = ledger.n_acknowledged();
        assert!(ledger.push(firn.url()).unwrap());
        if ledger.n_acknowledged() == before {
            refusal = Some(ledger.send_again(firn.url()).unwrap());
            break;
        }
    }
    let refusal = refusal.expect("the disk is full and pushes are still acknowledged");
    assert_eq!(refusal.status, 503, "{}", refusal.body);
    assert!(refusal.header("retry-after").is_some(), "{refusal:?}");
    assert!(refusal.body.to_lowercase().contains("space"), "it must name the reason: {}", refusal.body);
    // Queries are still answered, and what was acknowledged is all there.
    let full = ledger.check(&firn).unwrap();
    assert_eq!(system_tests::get(&format!("{}/ready", firn.url()), &[]).unwrap().status, 200);

    fs::remove_file(ballast).unwrap();
    let healed = wait_until(Duration::from_secs(30), || {
        let before = ledger.n_acknowledged();
        (ledger.push(firn.url()) == Ok(true) && ledger.n_acknowledged() > before).then_some(())
    });
    assert!(healed.is_some(), "space was freed and pushes are still refused");
    for _ in 0..20 {
        assert!(ledger.push(firn.url()).unwrap());
    }
    ledger.check(&firn).unwrap();
    firn.child().kill();
    let mut firn = Firn::start(FIRN, dir.path(), &options(&[])).unwrap();
    let healed = ledger.check(&firn).unwrap();
    firn.flush_all().unwrap();
    ledger.check(&firn).unwrap();
    println!(
        "full disk under the log: {} samples acknowledged before, refused with {:?}, {} after it healed, none lost",
        full.acknowledged, refusal.body, healed.acknowledged
    );
    firn.child().kill();
}

#[test]
fn a_full_disk_under_the_tables_keeps_samples_in_memory_and_on_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("tables"), 8) else { return };
    let mut firn = Firn::start(FIRN, dir.path(), &options(&[])).unwrap();
    let mut ledger = Ledger::new(Stream { id: 0, base_ms: now_ms() - 1_800_000, step_ms: 250 });
    for _ in 0..100 {
        assert!(ledger.push(firn.url()).unwrap());
    }
    let ballast = disk.fill(8);
    let failed = firn.flush().unwrap();
    assert!(failed.status >= 500, "a flush onto a full disk was answered {}: {}", failed.status, failed.body);
    for _ in 0..100 {
        assert!(ledger.push(firn.url()).unwrap());
    }
    ledger.check(&firn).unwrap();
    firn.child().kill();
    let mut firn = Firn::start(FIRN, dir.path(), &options(&[])).unwrap();
    ledger.check(&firn).unwrap();
    fs::remove_file(ballast).unwrap();
    firn.flush_all().unwrap();
    let count = ledger.check(&firn).unwrap();
    assert_eq!(super::table::samples(dir.path()).unwrap(), count.stored as u64);
    println!(
        "full disk under the tables: /flush answered {} ({:?}), {} samples acknowledged, all flushed once space was freed",
        failed.status,
        failed.body.trim(),
        count.acknowledged
    );
    firn.child().kill();
}
