use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use model::{Matcher, TimeRange};
use wire::{LabelsRequest, SelectBudget};

use crate::error::ApiError;
use crate::http::Deps;
use crate::json;
use crate::params::Params;
use crate::query::TRUNCATED;

/// `/series`
pub(crate) async fn series(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let request = request(&params, |e| ApiError::parameter("match[]", e))?;
    let tenants = deps.tenants(&headers)?;
    let series = deps.querier.series(&tenants, &request).await;
    let mut series = series.map_err(|e| ApiError::instead_of("series", &tenants, e))?;
    let warnings = truncate(&mut series, params.limit()?);
    let data = |out: &mut json::Json| {
        out.array(|out| {
            for labels in &series {
                out.labels(labels);
            }
        });
    };
    Ok(json::success_with(data, &warnings, &[]))
}

/// `/labels`
pub(crate) async fn names(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let request = request(&params, ApiError::bad_data)?;
    let tenants = deps.tenants(&headers)?;
    let names = deps.querier.label_names(&tenants, &request).await;
    let names = names.map_err(|e| ApiError::instead_of("labels", &tenants, e))?;
    Ok(strings(names, params.limit()?))
}

/// `/label/<name>/values`
pub(crate) async fn values(
    State(deps): State<Deps>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|e| ApiError::bad_data(format!("label name: {}", e.body_text())))?;
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    let request = request(&params, ApiError::bad_data)?;
    let tenants = deps.tenants(&headers)?;
    let values = deps.querier.label_values(&tenants, &name, &request).await;
    let values = values.map_err(|e| ApiError::instead_of(&name, &tenants, e))?;
    Ok(strings(values, params.limit()?))
}

fn strings(mut values: Vec<String>, limit: usize) -> Response {
    let warnings = truncate(&mut values, limit);
    let data = |out: &mut json::Json| {
        out.strings(&values);
    };
    json::success_with(data, &warnings, &[])
}

fn truncate<T>(values: &mut Vec<T>, limit: usize) -> Vec<String> {
    if limit == 0 || values.len() <= limit {
        return Vec::new();
    }
    values.truncate(limit);
    vec![TRUNCATED.to_string()]
}

/// `wrong` says what is wrong with a selector; not every route says that it is a parameter.
fn request(params: &Params, wrong: impl Fn(String) -> ApiError) -> Result<LabelsRequest, ApiError> {
    let limit = params.limit()?;
    let start = params.time("start")?.unwrap_or(i64::MIN);
    let end = params.time("end")?.unwrap_or(i64::MAX);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start timestamp"));
    }
    let selectors = selectors(params).map_err(wrong)?;
    Ok(LabelsRequest {
        selectors,
        range: TimeRange::new(start, end),
        // One more than wanted shows that there was more.
        limit: if limit == 0 { 0 } else { limit.saturating_add(1) },
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    })
}

/// `match[]`; everything must parse before anything is said about what it selects.
pub(crate) fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, String> {
    let parsed = params.all("match[]").map(|text| promql::parse_selector(text).map_err(|e| e.to_string()));
    let selectors: Vec<Vec<Matcher>> = parsed.collect::<Result<_, _>>()?;
    match selectors.iter().any(|matchers| matchers.iter().all(Matcher::matches_empty)) {
        true => Err("match[] must contain at least one non-empty matcher".to_string()),
        false => Ok(selectors),
    }
}

/// Undoes the escaping of names that are not plain (Prometheus: "values encoding escaping", `U__` prefix):
/// `__` is an underscore, `_<hex>_` a character. As in Prometheus, a character has at most five digits.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_string() };
    decode_escapes(escaped).unwrap_or_else(|| name.to_string())
}

fn decode_escapes(escaped: &str) -> Option<String> {
    let mut plain = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        plain.push_str(&rest[..at]);
        let (code, tail) = rest[at + 1..].split_once('_')?;
        match code {
            "" => plain.push('_'),
            hex if hex.len() > 5 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => return None,
            hex => plain.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?),
        }
        rest = tail;
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_come_back() {
        assert_eq!(unescape("job"), "job");
        assert_eq!(unescape("U__http_2e_status__code"), "http.status_code");
        assert_eq!(unescape("U___1f600_"), "😀");
        assert_eq!(unescape("U__"), "");
        for broken in ["U__broken_zz_", "U__a_", "U__a_41", "U__a_+41_", "U__a_01f600_", "U__a_d800_"] {
            assert_eq!(unescape(broken), broken);
        }
    }
}
