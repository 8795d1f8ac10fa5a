//! The table as it lies there: what the log says is in it, and what Python's deltalake finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use system_tests::part;

/// The table of the tenant that everyone is without a header.
pub(super) fn folder(data: &Path) -> PathBuf {
    data.join("tables/anonymous/metrics")
}

/// Samples in the table, by the tags of the files that its log lists.
pub(super) fn samples(data: &Path) -> Result<u64, String> {
    let log = folder(data).join("_delta_log");
    let Ok(entries) = fs::read_dir(&log) else { return Ok(0) };
    let (mut added, mut removed) = (BTreeMap::new(), BTreeSet::new());
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        // Commits are never cleaned up this young, so that checkpoints need not be read.
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|e| e.to_string())?;
        for line in text.lines() {
            let action: Value = serde_json::from_str(line).map_err(|e| format!("{}: {e}", path.display()))?;
            if let Some(add) = action.get("add") {
                let tag = add["tags"]["firn.samples"].as_str().and_then(|tag| tag.parse::<u64>().ok());
                let tag = tag.ok_or_else(|| format!("an add without the tag firn.samples: {add}"))?;
                added.insert(add["path"].to_string(), tag);
            }
            removed.extend(action.get("remove").map(|remove| remove["path"].to_string()));
        }
    }
    // A name is never used again.
    Ok(added.iter().filter(|(path, _)| !removed.contains(*path)).map(|(_, samples)| samples).sum())
}

/// What is expected of the table below a folder.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) data: PathBuf,
    /// Samples in its files.
    pub(super) samples: u64,
    /// Different ones.
    pub(super) distinct: u64,
}

/// Lets Python's deltalake read the tables. `None` where it is not installed.
pub(super) fn read_by_deltalake(expected: &[Expected]) -> Option<()> {
    let python = part("duckdb2/bin/python")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers/count_samples.py");
    let tables = expected.iter().map(|table| folder(&table.data));
    let output = Command::new(python).arg(script).args(tables).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{stdout}");
    for (line, Expected { data, samples, distinct }) in lines.iter().zip(expected) {
        let found = format!("{samples} {distinct}");
        assert_eq!(*line, found, "samples and different samples in {}", data.display());
    }
    Some(())
}
