use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{TenantId, TenantIdError};

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

/// The tenant of a request. Without multitenancy an absent header means `anonymous`, a present one is still
/// obeyed, so that a gateway in front can separate tenants.
pub fn tenant(headers: &HeaderMap, multitenancy: bool) -> Result<TenantId, TenantError> {
    let Some(value) = headers.get(TENANT_HEADER) else {
        return if multitenancy { Err(TenantError::Missing) } else { Ok(TenantId::anonymous()) };
    };
    let id = value.to_str().map_err(|_| TenantError::NotText)?;
    Ok(TenantId::new(id)?)
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
        assert_eq!(tenant(&headers("../x"), true).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }
}
