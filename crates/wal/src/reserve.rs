use std::io;
use std::path::Path;

use crate::FileLayer;

const NAME: &str = "reserve";

/// Enough for the cut records of a few thousand shards.
const BYTES: usize = 64 << 10;

/// Makes the reserve if it is not there. A disk that is too full for it has none.
pub(crate) fn make(files: &dyn FileLayer, dir: &Path) {
    let path = dir.join(NAME);
    if files.open(&path).is_ok() {
        return;
    }
    // Written, not only sized: a hole in a file reserves nothing.
    let made = files.create(&path).and_then(|file| file.write_at(0, &vec![0xFF; BYTES]));
    if made.is_err() {
        let _removed: io::Result<()> = files.remove(&path);
    }
}

/// Gives the reserve back to the disk; says whether there was one.
pub(crate) fn give_up(files: &dyn FileLayer, dir: &Path) -> bool {
    files.remove(&dir.join(NAME)).is_ok()
}
