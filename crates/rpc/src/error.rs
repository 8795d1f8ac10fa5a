//! Errors on their way between processes: what was one kind on the far side is the same kind here.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};
use wire::{AdminError, PushError, QueryError, SelectError};

use crate::generated::firn::error_detail::Kind;
use crate::generated::firn::{ErrorDetail, Limit};
use crate::limit_names;

/// A status travels in headers, and those are bounded.
const MESSAGE_BYTES_MAX: usize = 2048;
/// What a sender is told that cannot know better.
const RETRY_AFTER_SECS: u64 = 1;

impl ErrorDetail {
    /// An error that is nothing but a kind and words.
    pub(crate) fn of(kind: Kind, message: impl Into<String>) -> ErrorDetail {
        ErrorDetail { kind: kind.into(), message: message.into(), ..ErrorDetail::default() }
    }

    /// Too much at once, or nobody there: try again.
    pub(crate) fn unavailable(message: impl Into<String>) -> ErrorDetail {
        let retry_after_secs = RETRY_AFTER_SECS;
        ErrorDetail { retry_after_secs, ..ErrorDetail::of(Kind::Unavailable, message) }
    }

    /// The error as a status.
    pub(crate) fn into_status(mut self) -> Status {
        let code = match self.kind() {
            Kind::Invalid => Code::InvalidArgument,
            Kind::LimitExceeded | Kind::RateLimited => Code::ResourceExhausted,
            Kind::Unavailable => Code::Unavailable,
            Kind::Timeout => Code::DeadlineExceeded,
            Kind::Canceled => Code::Cancelled,
            Kind::Corrupt => Code::DataLoss,
            Kind::Execution | Kind::WrongOwner => Code::FailedPrecondition,
            Kind::Internal | Kind::Unknown => Code::Internal,
        };
        self.message.truncate(self.message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Status::with_details(code, self.message.clone(), Bytes::from(self.encode_to_vec()))
    }

    /// What a status says. `far` names whom the call was made to.
    pub(crate) fn from_status(status: &Status, far: &str) -> ErrorDetail {
        if !status.details().is_empty()
            && let Ok(detail) = ErrorDetail::decode(status.details())
        {
            return detail;
        }
        let message = format!("{far}: {}", described(status));
        match status.code() {
            Code::DeadlineExceeded => ErrorDetail::of(Kind::Timeout, message),
            Code::InvalidArgument | Code::OutOfRange => ErrorDetail::of(Kind::Invalid, message),
            Code::Internal if !is_transport(status) => ErrorDetail::of(Kind::Internal, message),
            _ => ErrorDetail::unavailable(message),
        }
    }
}

/// Whether the call did not get through, so that nothing is known of what it would have said.
pub(crate) fn is_transport(status: &Status) -> bool {
    status.details().is_empty() && std::error::Error::source(status).is_some()
}

/// The status in words, with the innermost cause: "transport error" alone helps nobody.
fn described(status: &Status) -> String {
    let mut innermost = std::error::Error::source(status);
    while let Some(source) = innermost.and_then(std::error::Error::source) {
        innermost = Some(source);
    }
    match innermost.map(ToString::to_string) {
        Some(cause) if cause != status.message() => {
            format!("cannot be reached: {} ({cause})", status.message())
        }
        Some(_) => format!("cannot be reached: {}", status.message()),
        None if status.message().is_empty() => status.code().description().to_string(),
        None => status.message().to_string(),
    }
}

impl From<PushError> for ErrorDetail {
    fn from(error: PushError) -> ErrorDetail {
        match error {
            PushError::Unavailable { message, retry_after_secs } => {
                ErrorDetail { retry_after_secs, ..ErrorDetail::of(Kind::Unavailable, message) }
            }
            PushError::Invalid(message) => ErrorDetail::of(Kind::Invalid, message),
            PushError::Internal(message) => ErrorDetail::of(Kind::Internal, message),
        }
    }
}

impl From<ErrorDetail> for PushError {
    fn from(detail: ErrorDetail) -> PushError {
        match detail.kind() {
            Kind::Invalid => PushError::Invalid(detail.message),
            Kind::Internal => PushError::Internal(detail.message),
            // Whatever else stood in the way, nothing is known to be on the log: the sender comes again.
            _ => PushError::Unavailable {
                message: detail.message,
                retry_after_secs: detail.retry_after_secs.max(RETRY_AFTER_SECS),
            },
        }
    }
}

impl From<SelectError> for ErrorDetail {
    fn from(error: SelectError) -> ErrorDetail {
        match error {
            SelectError::LimitExceeded { name, limit, used } => {
                let message = SelectError::LimitExceeded { name, limit, used }.to_string();
                let limit = Some(Limit { name: name.to_string(), limit, used });
                ErrorDetail { limit, ..ErrorDetail::of(Kind::LimitExceeded, message) }
            }
            SelectError::Timeout => ErrorDetail::of(Kind::Timeout, error.to_string()),
            SelectError::Unavailable(message) => ErrorDetail::of(Kind::Unavailable, message),
            SelectError::Corrupt(message) => ErrorDetail::of(Kind::Corrupt, message),
            SelectError::Internal(message) => ErrorDetail::of(Kind::Internal, message),
        }
    }
}

impl From<ErrorDetail> for SelectError {
    fn from(detail: ErrorDetail) -> SelectError {
        match (detail.kind(), detail.limit) {
            (Kind::LimitExceeded, Some(Limit { name, limit, used })) => {
                SelectError::LimitExceeded { name: limit_names::known(&name), limit, used }
            }
            (Kind::Timeout, _) => SelectError::Timeout,
            (Kind::Corrupt, _) => SelectError::Corrupt(detail.message),
            (Kind::Internal | Kind::Invalid, _) => SelectError::Internal(detail.message),
            _ => SelectError::Unavailable(detail.message),
        }
    }
}

impl From<AdminError> for ErrorDetail {
    fn from(error: AdminError) -> ErrorDetail {
        match error {
            AdminError::Unavailable(message) => ErrorDetail::of(Kind::Unavailable, message),
            AdminError::Internal(message) => ErrorDetail::of(Kind::Internal, message),
        }
    }
}

impl From<ErrorDetail> for AdminError {
    fn from(detail: ErrorDetail) -> AdminError {
        match detail.kind() {
            Kind::Internal | Kind::Invalid => AdminError::Internal(detail.message),
            _ => AdminError::Unavailable(detail.message),
        }
    }
}

impl From<QueryError> for ErrorDetail {
    fn from(error: QueryError) -> ErrorDetail {
        match error {
            QueryError::Invalid(message) => ErrorDetail::of(Kind::Invalid, message),
            QueryError::Execution(message) => ErrorDetail::of(Kind::Execution, message),
            QueryError::Timeout(phase) => {
                let phase = phase.to_string();
                ErrorDetail { phase, ..ErrorDetail::of(Kind::Timeout, error.to_string()) }
            }
            QueryError::Canceled => ErrorDetail::of(Kind::Canceled, error.to_string()),
            QueryError::TooManyRequests(message) => ErrorDetail::of(Kind::RateLimited, message),
            QueryError::Select(error) => error.into(),
            QueryError::Internal(message) => ErrorDetail::of(Kind::Internal, message),
        }
    }
}

impl From<ErrorDetail> for QueryError {
    fn from(detail: ErrorDetail) -> QueryError {
        match detail.kind() {
            Kind::Invalid => QueryError::Invalid(detail.message),
            Kind::Execution => QueryError::Execution(detail.message),
            Kind::Timeout if detail.phase.is_empty() => QueryError::Select(SelectError::Timeout),
            Kind::Timeout => QueryError::Timeout(phase(&detail.phase)),
            Kind::Canceled => QueryError::Canceled,
            Kind::RateLimited => QueryError::TooManyRequests(detail.message),
            Kind::Internal => QueryError::Internal(detail.message),
            _ => QueryError::Select(detail.into()),
        }
    }
}

/// The phases of a query in which time can run out.
fn phase(name: &str) -> &'static str {
    let known = ["query queue", "query execution", "expression evaluation"];
    known.into_iter().find(|known| *known == name).unwrap_or("query execution")
}
