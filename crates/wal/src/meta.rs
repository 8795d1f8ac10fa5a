use std::io;
use std::path::Path;

use crate::{FileLayer, WalError};

/// The issuer of the log in `dir`; drawn and kept if the log is new.
pub(crate) fn read_or_create(files: &dyn FileLayer, dir: &Path) -> Result<String, WalError> {
    let path = dir.join("meta");
    match files.open(&path) {
        Ok(file) => {
            let mut bytes = vec![0; 4096];
            let n = file.read_at(0, &mut bytes).map_err(WalError::file("read", &path))?;
            let text = std::str::from_utf8(&bytes[..n]).unwrap_or_default();
            parse(text).ok_or(WalError::Meta { path })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let issuer = format!("{:016x}", runtime::random_u64());
            create(files, dir, &issuer).map_err(WalError::file("write", &path))?;
            Ok(issuer)
        }
        Err(e) => Err(WalError::file("open", &path)(e)),
    }
}

fn create(files: &dyn FileLayer, dir: &Path, issuer: &str) -> io::Result<()> {
    let temporary = dir.join("meta.tmp");
    let file = files.create(&temporary)?;
    file.write_at(0, format!("firn-wal 1\nissuer {issuer}\n").as_bytes())?;
    file.sync()?;
    files.rename(&temporary, &dir.join("meta"))?;
    files.sync_dir(dir)
}

fn parse(text: &str) -> Option<String> {
    let mut lines = text.lines();
    if lines.next()? != "firn-wal 1" {
        return None;
    }
    let issuer = lines.next()?.strip_prefix("issuer ")?;
    (!issuer.is_empty()).then(|| issuer.to_string())
}
