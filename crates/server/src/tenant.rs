use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{TenantId, TenantIdError, TenantIds};

/// The header that names the tenant, as in Mimir and Tempo.
pub const TENANT_HEADER: &str = "X-Scope-OrgID";

/// Why a request has no tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Multitenancy is on and the header is missing.
    #[error("no org id: the header X-Scope-OrgID is missing")]
    Missing,
    /// The header's value is not a tenant id.
    #[error("invalid X-Scope-OrgID: {0}")]
    Invalid(#[from] TenantIdError),
    /// The header's value is not text.
    #[error("invalid X-Scope-OrgID: not text")]
    NotText,
}

/// The tenants that a request reads, separated by `|`; else as [`tenant`].
pub fn tenants(headers: &HeaderMap, multitenancy: bool) -> Result<TenantIds, TenantError> {
    match header(headers, multitenancy)? {
        Some(ids) => Ok(TenantIds::parse(ids)?),
        None => Ok(TenantId::anonymous().into()),
    }
}

/// The tenant of a request. Without multitenancy an absent header means `anonymous`, a present one is still
/// obeyed, so that a gateway in front can separate tenants.
pub fn tenant(headers: &HeaderMap, multitenancy: bool) -> Result<TenantId, TenantError> {
    match header(headers, multitenancy)? {
        Some(id) => Ok(TenantId::new(id)?),
        None => Ok(TenantId::anonymous()),
    }
}

fn header(headers: &HeaderMap, multitenancy: bool) -> Result<Option<&str>, TenantError> {
    match headers.get(TENANT_HEADER) {
        Some(value) => value.to_str().map(Some).map_err(|_| TenantError::NotText),
        None if multitenancy => Err(TenantError::Missing),
        None => Ok(None),
    }
}

impl TenantError {
    /// The HTTP status of the refusal.
    pub fn status(&self) -> StatusCode {
        match self {
            TenantError::Missing => StatusCode::UNAUTHORIZED,
            TenantError::Invalid(_) | TenantError::NotText => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for TenantError {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TENANT_HEADER, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_header_decides_and_is_validated() {
        assert_eq!(tenant(&HeaderMap::new(), false), Ok(TenantId::anonymous()));
        assert_eq!(tenant(&HeaderMap::new(), true), Err(TenantError::Missing));
        assert_eq!(tenant(&headers("team-1"), true).unwrap().as_str(), "team-1");
        assert_eq!(tenants(&headers("b|a"), true).unwrap().to_string(), "a|b");
        assert!(tenant(&headers("b|a"), true).is_err());
        assert_eq!(tenant(&headers("../x"), true).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }
}
