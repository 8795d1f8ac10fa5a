use axum::http::StatusCode;
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

    /// The request has no tenant.
    pub(crate) fn tenant(error: &TenantError) -> ApiError {
        ApiError { status: error.status(), error_type: "bad_data", message: error.to_string() }
    }

    /// What a query or a label query has instead of a result. The log says who asked for what when the fault is ours.
    pub(crate) fn instead_of(asked: &str, tenants: &TenantIds, error: QueryError) -> ApiError {
        let error = ApiError::from(error);
        if error.status.is_server_error() {
            let (tenant, message) = (tenants.to_string(), shortened(&error.message));
            tracing::warn!(tenant, query = shortened(asked), error = message, "query without a result");
        }
        error
    }
}

impl From<QueryError> for ApiError {
    /// Failures of storage are 5xx, so that clients ask again; what lies in the query or in its limits is 422.
    fn from(error: QueryError) -> ApiError {
        let message = error.to_string();
        let (status, error_type) = match error.kind() {
            ErrorKind::Invalid => return ApiError::parameter("query", message),
            ErrorKind::LimitExceeded => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            ErrorKind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            ErrorKind::Canceled => (canceled(), "canceled"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ErrorKind::Corrupt | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        ApiError { status, error_type, message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json::error(self.error_type, shortened(&self.message));
        (self.status, json::CONTENT_TYPE, body).into_response()
    }
}

/// An error may quote the query, and a query may be a megabyte long; what is wrong stands at the front.
fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

fn canceled() -> StatusCode {
    StatusCode::from_u16(ErrorKind::Canceled.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
