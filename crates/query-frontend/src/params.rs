use std::num::{IntErrorKind, ParseIntError};

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use http_body_util::{BodyExt, Limited};
use server::parse_time;

use crate::error::ApiError;

/// The most bytes of a form. Dashboards send long queries by POST, but not this long.
const FORM_BYTES_MAX: usize = 10 << 20;

pub(crate) const NANOS_PER_MS: i64 = 1_000_000;

/// The parameters of a request: those of a form and those of the URL, in this order, so that the form's count where
/// both have one.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// The first value of a parameter, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().find(|(n, _)| n == name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A time, if given.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = |e| ApiError::parameter(name, format!("invalid time value for '{name}': {e}"));
        parse_time(text).map(Some).map_err(wrong)
    }

    /// A time that must be given.
    pub(crate) fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        parse_time(self.get(name).unwrap_or_default()).map_err(|e| ApiError::parameter(name, e))
    }

    /// A duration in milliseconds, if given.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| parse_duration(text).map_err(|e| ApiError::parameter(name, e))).transpose()
    }

    /// `lookback_delta` in milliseconds, if it is longer than nothing.
    pub(crate) fn lookback(&self) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get("lookback_delta") else { return Ok(None) };
        let wrong = |e| ApiError::bad_data(format!("error parsing lookback delta duration: {e}"));
        Ok(Some(parse_duration(text).map_err(wrong)?).filter(|ms| *ms > 0))
    }

    /// `limit`: 0 or absent is no limit.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(0) };
        let wrong = |reason| ApiError::parameter("limit", reason);
        let limit: i64 = text.parse().map_err(|e| wrong(integer_error("Atoi", text, &e)))?;
        usize::try_from(limit).map_err(|_| wrong("limit must be non-negative".to_string()))
    }

    fn extend(&mut self, encoded: &[u8]) {
        self.pairs.extend(form_urlencoded::parse(encoded).into_owned());
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Params, ApiError> {
        let mut params = Params::default();
        let query = request.uri().query().unwrap_or_default().to_string();
        if request.method() == Method::POST && is_form(&request) {
            let body = Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await;
            let body = body.map_err(|e| ApiError::bad_data(format!("error parsing form values: {e}")))?;
            params.extend(&body.to_bytes());
        }
        params.extend(query.as_bytes());
        Ok(params)
    }
}

/// A duration in float seconds or Prometheus's notation, as milliseconds. What is less than one does not count.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    parse_nanos(text).map(|nanos| nanos / NANOS_PER_MS)
}

/// A duration as nanoseconds.
pub(crate) fn parse_nanos(text: &str) -> Result<i64, String> {
    if let Ok(secs) = text.parse::<f64>() {
        let nanos = secs * 1e9;
        // 2^63 is the first float that does not fit.
        let fits = nanos.abs() < 9_223_372_036_854_775_808.0;
        let overflow = || format!("cannot parse {text:?} to a valid duration. It overflows int64");
        return fits.then_some(nanos as i64).ok_or_else(overflow);
    }
    let wrong = || format!("cannot parse {text:?} to a valid duration");
    let duration = limits::parse_duration(text).map_err(|_| wrong())?;
    i64::try_from(duration.as_nanos()).map_err(|_| wrong())
}

/// What Prometheus says of a text that is no integer: the words of Go's `strconv`.
pub(crate) fn integer_error(function: &str, text: &str, error: &ParseIntError) -> String {
    let reason = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {text:?}: {reason}")
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
        assert_eq!(parse_duration("12.3459"), Ok(12_345));
        assert_eq!(parse_duration("-0.25"), Ok(-250));
        assert_eq!(parse_nanos("0.0001"), Ok(100_000));
        assert!(parse_duration("1e300").unwrap_err().ends_with("It overflows int64"));
        assert!(parse_duration("NaN").is_err());
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000));
        assert!(parse_duration("5x").is_err());
    }
}
