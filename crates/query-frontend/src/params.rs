use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use http_body_util::{BodyExt, Limited};
use server::{parse_time, to_millis};

use crate::error::ApiError;

/// The most bytes of a form. Dashboards send long queries by POST, but not this long.
const FORM_BYTES_MAX: usize = 10 << 20;

/// The parameters of a request: those of the URL and those of a form, in this order.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// The first value of a parameter that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A time, if given.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| parse_time(text).map_err(|e| ApiError::parameter(name, e))).transpose()
    }

    /// A time that must be given.
    pub(crate) fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        let missing = || ApiError::parameter(name, "cannot parse \"\" to a valid timestamp");
        self.time(name)?.ok_or_else(missing)
    }

    /// A duration in milliseconds, if given.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| parse_duration(text).map_err(|e| ApiError::parameter(name, e))).transpose()
    }

    /// `limit`: 0 or absent is no limit.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(0) };
        text.parse().map_err(|_| ApiError::parameter("limit", "limit must be a non-negative number"))
    }

    fn extend(&mut self, encoded: &[u8]) {
        self.pairs.extend(form_urlencoded::parse(encoded).into_owned());
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Params, ApiError> {
        let mut params = Params::default();
        params.extend(request.uri().query().unwrap_or_default().as_bytes());
        if request.method() == Method::POST && is_form(&request) {
            let body = Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await;
            let body = body.map_err(|e| ApiError::bad_data(format!("error parsing form values: {e}")))?;
            params.extend(&body.to_bytes());
        }
        Ok(params)
    }
}

/// A duration in float seconds or Prometheus's notation, as milliseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(secs) = text.parse::<f64>() {
        let overflow = || format!("cannot parse {text:?} to a valid duration. It overflows int64");
        return to_millis(secs).ok_or_else(overflow);
    }
    let duration = limits::parse_duration(text);
    let duration = duration.map_err(|_| format!("cannot parse {text:?} to a valid duration"))?;
    i64::try_from(duration.as_millis()).map_err(|e| e.to_string())
}

fn is_form(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    content_type.is_none_or(|t| t.starts_with("application/x-www-form-urlencoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_float_seconds_or_notation() {
        assert_eq!(parse_duration("15"), Ok(15_000));
        assert_eq!(parse_duration("0.5"), Ok(500));
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000));
        assert!(parse_duration("5x").is_err());
    }
}
