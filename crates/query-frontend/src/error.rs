use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{Classify, ErrorKind, TenantIds};
use server::TenantError;
use wire::QueryError;

use crate::json;

/// The most bytes of a message; Prometheus's senders read no more of an answer either.
const MESSAGE_BYTES_MAX: usize = 1024;

/// An error as Prometheus's API spells it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl ApiError {
    /// The request is wrong.
    pub(crate) fn bad_data(message: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::BAD_REQUEST, error_type: "bad_data", message: message.into() }
    }

    /// A parameter is wrong.
    pub(crate) fn parameter(name: &str, reason: impl std::fmt::Display) -> ApiError {
        ApiError::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }

    /// The request is larger than it may be.
    pub(crate) fn too_large(message: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::PAYLOAD_TOO_LARGE, error_type: "bad_data", message: message.into() }
    }

    /// The answer of a route whose callers expect no JSON: a line of text.
    pub(crate) fn as_text(&self) -> Response {
        let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        // What is wrong with a pattern is told in several lines.
        let words: Vec<&str> = shortened(&self.message).split_whitespace().collect();
        (self.status, text, words.join(" ") + "\n").into_response()
    }

    /// The request has no tenant.
    pub(crate) fn tenant(error: &TenantError) -> ApiError {
        ApiError { status: error.status(), error_type: "bad_data", message: error.to_string() }
    }

    /// The status that it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong.
    pub(crate) fn message(&self) -> &str {
        shortened(&self.message)
    }

    /// What a query or a label query has instead of a result. The log says who asked for what when the fault is ours.
    pub(crate) fn instead_of(asked: &str, tenants: &TenantIds, error: QueryError) -> ApiError {
        ApiError::instead_of_within(asked, tenants, error, "limit query_timeout")
    }

    /// The same of a query whose time was bounded by something else than the limit.
    pub(crate) fn instead_of_within(
        asked: &str,
        tenants: &TenantIds,
        error: QueryError,
        time: &str,
    ) -> ApiError {
        let is_late = error.kind() == ErrorKind::Timeout;
        let mut error = ApiError::from(error);
        if is_late {
            error.message = format!("{} ({time})", error.message);
        }
        if error.status.is_server_error() {
            let (tenant, message) = (tenants.to_string(), shortened(&error.message));
            tracing::warn!(tenant, query = shortened(asked), error = message, "query without a result");
        }
        error
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        let message = error.to_string();
        match error.kind() {
            ErrorKind::Invalid => ApiError::parameter("query", message),
            kind => ApiError { status: status_of(kind), error_type: type_of(kind), message },
        }
    }
}

/// Failures of storage are 5xx, so that clients ask again; what lies in the query or in its limits is 422.
pub(crate) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::LimitExceeded => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Timeout | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Canceled => {
            StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Prometheus's word for the kind of an error.
pub(crate) fn type_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "bad_data",
        ErrorKind::LimitExceeded => "execution",
        ErrorKind::RateLimited => "too_many_requests",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Canceled => "canceled",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Corrupt | ErrorKind::Internal => "internal",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json::error(self.error_type, shortened(&self.message));
        (self.status, json::CONTENT_TYPE, body).into_response()
    }
}

/// An error may quote the query, and a query may be a megabyte long; what is wrong stands at the front.
pub(crate) fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}
