use std::fmt;
use std::sync::Arc;

/// The owner of data. An id becomes a path in the object store, so it is validated on construction.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Why a tenant id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantIdError {
    /// The id is empty.
    #[error("tenant id is empty")]
    Empty,
    /// The id has more than 150 bytes.
    #[error("tenant id is {0} bytes long, the limit is 150")]
    TooLong(usize),
    /// The id holds a byte outside `[A-Za-z0-9!_.*'()-]`.
    #[error("tenant id has unsupported character {0:?}")]
    UnsupportedCharacter(char),
    /// `.`, `..` and ids that begin with `__` are reserved.
    #[error("tenant id {0:?} is reserved")]
    Reserved(String),
}

impl TenantId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 150;

    /// Validates `id`.
    pub fn new(id: &str) -> Result<TenantId, TenantIdError> {
        if id.is_empty() {
            return Err(TenantIdError::Empty);
        }
        if id.len() > Self::MAX_LEN {
            return Err(TenantIdError::TooLong(id.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!_.*'()-".contains(c);
        if let Some(c) = id.chars().find(|c| !allowed(*c)) {
            return Err(TenantIdError::UnsupportedCharacter(c));
        }
        if id == "." || id == ".." || id.starts_with("__") {
            return Err(TenantIdError::Reserved(id.to_string()));
        }
        Ok(TenantId(id.into()))
    }

    /// The tenant of requests that name none.
    pub fn anonymous() -> TenantId {
        TenantId("anonymous".into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The owners of the data that a query reads: at least one, sorted, without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantIds(Vec<TenantId>);

impl TenantIds {
    /// Validates ids that are separated by `|`.
    pub fn parse(ids: &str) -> Result<TenantIds, TenantIdError> {
        let mut ids = ids.split('|').map(TenantId::new).collect::<Result<Vec<TenantId>, TenantIdError>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok(TenantIds(ids))
    }

    /// The one tenant, unless there are several.
    pub fn only(&self) -> Option<&TenantId> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// All of them, in order.
    pub fn all(&self) -> &[TenantId] {
        &self.0
    }
}

impl From<TenantId> for TenantIds {
    fn from(id: TenantId) -> TenantIds {
        TenantIds(vec![id])
    }
}

impl fmt::Display for TenantIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, id) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "|" };
            write!(f, "{separator}{id}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_their_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "__x", "a b", "ä", &"x".repeat(151)] {
            assert!(TenantId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "team-1", "a.b", "...", "(x)!*'_"] {
            assert!(TenantId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn several_ids_are_sorted_and_said_once() {
        let ids = TenantIds::parse("b|a|b").unwrap();
        assert_eq!((ids.to_string().as_str(), ids.only()), ("a|b", None));
        assert_eq!(TenantIds::parse("a").unwrap().only(), Some(&TenantId::new("a").unwrap()));
        assert!(TenantIds::parse("a|").is_err() && TenantIds::parse("").is_err());
    }
}
