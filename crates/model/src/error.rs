/// What the caller of a failed operation should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request must change; do not retry.
    Invalid,
    /// Nothing there.
    NotFound,
    /// Too fast: retry later, slower.
    RateLimited,
    /// A limit of the tenant stands in the way: do not retry.
    LimitExceeded,
    /// Retry soon: starting, stopping, out of memory budget, disk full, store unreachable.
    Unavailable,
    /// Retry with less.
    Timeout,
    /// The caller went away.
    Canceled,
    /// Stored bytes do not check out; an operator must look.
    Corrupt,
    /// A bug; we must look.
    Internal,
}

impl ErrorKind {
    /// The HTTP status of the kind where no dialect prescribes another.
    pub fn http_status(self) -> u16 {
        match self {
            ErrorKind::Invalid | ErrorKind::LimitExceeded => 400,
            ErrorKind::NotFound => 404,
            ErrorKind::RateLimited => 429,
            ErrorKind::Unavailable => 503,
            ErrorKind::Timeout => 504,
            ErrorKind::Canceled => 499,
            ErrorKind::Corrupt | ErrorKind::Internal => 500,
        }
    }
}

/// An error that tells its caller what to do next.
pub trait Classify: std::error::Error {
    /// What to do next.
    fn kind(&self) -> ErrorKind;
}
