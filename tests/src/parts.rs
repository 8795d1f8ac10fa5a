use std::env;
use std::path::{Path, PathBuf};

/// A real server or client that `tests/parts/install.sh` installs, by its path below the parts folder, such as
/// `bin/prometheus`. Where it is missing the caller skips; with `FIRN_REQUIRE_PARTS` set that is a failure.
///
/// # Panics
/// If the part is missing and parts are required.
pub fn part(path: &str) -> Option<PathBuf> {
    let found = parts_folder().map(|folder| folder.join(path)).filter(|path| path.exists());
    if found.is_none() {
        let required = env::var("FIRN_REQUIRE_PARTS").is_ok_and(|value| value == "1");
        assert!(!required, "the part {path} is required and not installed: run tests/parts/install.sh");
        eprintln!("SKIPPED: the part {path} is not installed; tests/parts/install.sh installs it");
    }
    found
}

/// A file or folder of the corpora that lie beside the checkout; `None`, said aloud, where they are absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let beside =
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent().map(|folder| folder.join("shared"));
    let folder = env::var_os("FIRN_SHARED").map(PathBuf::from).or_else(beside)?;
    let found = folder.join(path);
    if !found.exists() {
        eprintln!("CORPUS ABSENT: {}", found.display());
        return None;
    }
    Some(found)
}

fn parts_folder() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache/firn"));
    Some(env::var_os("FIRN_CACHE").map(PathBuf::from).or_else(home)?.join("parts"))
}
