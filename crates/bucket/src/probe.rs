use object_store::path::Path;

use crate::BucketError;
use crate::bucket::Shared;

const FOLDER: &str = "__firn/probe";

impl Shared {
    /// Tries on an object of its own everything that tables need of a store. One that lets a second conditional put
    /// pass would lose commits without a word.
    pub(crate) async fn probe(&self) -> Result<(), BucketError> {
        let folder = Path::from(FOLDER);
        let path = folder.clone().join(format!("{:016x}", runtime::random_u64()));
        let outcome = self.probe_with(&folder, &path).await;
        let deleted = self.delete(vec![path.clone()]).await;
        let outcome = outcome.and(deleted);
        match outcome {
            Ok(()) => self.probe_gone(&path).await,
            Err(e) => Err(e),
        }
    }

    async fn probe_with(&self, folder: &Path, path: &Path) -> Result<(), BucketError> {
        let refused = |refusal: bool| {
            self.require(refusal, "a conditional put overwrote an object, so commits would be lost")
        };
        let first = self.put_if_absent(path, b"0123456789".to_vec()).await?;
        self.require(first, "a conditional put of a new object is refused")?;
        refused(!self.put_if_absent(path, b"overwritten".to_vec()).await?)?;
        let kept = self.get(path).await?;
        refused(kept.as_deref() == Some(b"0123456789"))?;
        let parts = self.ranges(path, std::slice::from_ref(&(3..6))).await?;
        self.require(
            parts.first().is_some_and(|part| **part == *b"345"),
            "a read of a range brings other bytes",
        )?;
        let listed = self.list_after(folder, folder).await?;
        let is_listed = listed.iter().any(|object| object.location == *path && object.size == 10);
        self.require(is_listed, "an object that was put is not in the listing")
    }

    async fn probe_gone(&self, path: &Path) -> Result<(), BucketError> {
        let left = self.get(path).await?;
        self.require(left.is_none(), "a deleted object is still there")
    }

    fn require(&self, holds: bool, reason: &str) -> Result<(), BucketError> {
        let unfit = || BucketError::Unfit { store: self.store.to_string(), reason: reason.to_string() };
        if holds { Ok(()) } else { Err(unfit()) }
    }
}
