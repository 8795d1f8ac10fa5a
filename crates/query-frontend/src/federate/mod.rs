//! `/federate`: the newest sample of each series that matches, for a Prometheus that scrapes Firn as a target.
//!
//! As in Prometheus: floats are untyped, native histograms with exponential buckets are in protobuf only, those with
//! custom buckets become classic ones, stale markers are left out, and a series without an `instance` gets an empty one,
//! so that the scraper does not put its own there.

mod family;
mod form;
mod protobuf;
mod text;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt, stream};
use model::{Histogram, Labels, SeriesData, TimeRange, is_stale};
use runtime::Reservation;
use tower_http::compression::CompressionLayer;
use wire::{QueryError, SelectError};

use self::family::Families;
use self::form::Form;
use crate::error::ApiError;
use crate::http::Deps;
use crate::labels;
use crate::params::Params;
use crate::raw::{Pages, Wanted};

/// Bytes after which a piece of the answer goes out.
const PIECE_BYTES: usize = 256 << 10;

/// The newest sample of a series.
#[derive(Debug, Clone)]
struct Newest {
    labels: Labels,
    timestamp: i64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// `/federate`
pub(crate) fn routes(deps: Deps) -> Router {
    Router::new().route("/federate", get(federate)).with_state(deps).layer(CompressionLayer::new())
}

async fn federate(State(deps): State<Deps>, headers: HeaderMap, params: Params) -> Response {
    match answer(&deps, &headers, &params).await {
        Ok(response) => response,
        Err(error) => error.as_text(),
    }
}

async fn answer(deps: &Deps, headers: &HeaderMap, params: &Params) -> Result<Response, ApiError> {
    let selectors = labels::selectors(params).map_err(ApiError::bad_data)?;
    let tenants = deps.tenants(headers)?;
    let form = Form::negotiate(headers);
    let now = deps.clock.now_ms();
    let range = TimeRange::new(now.saturating_sub(deps.lookback_ms), now);
    let wanted = Wanted { tenants: tenants.clone(), selectors, range };
    let pages = Pages::new(Arc::clone(&deps.querier), deps.memory.clone(), wanted);
    let failed = |e| ApiError::instead_of("federate", &tenants, e);
    let (newest, reserved) = newest(deps, pages).await.map_err(failed)?;
    let families = Families::new(newest, form.takes_native_histograms());
    let content_type = HeaderValue::from_str(&form.content_type());
    let content_type = content_type.map_err(|e| failed(QueryError::Internal(e.to_string())))?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, content_type)], body(families, form, reserved))
        .into_response())
}

/// The newest sample of each series, by name; and what keeps their memory counted.
async fn newest(deps: &Deps, mut pages: Pages) -> Result<(Vec<Newest>, Reservation), QueryError> {
    let over = |e: runtime::OverBudget| QueryError::Select(SelectError::Unavailable(e.to_string()));
    let mut reserved = deps.memory.reserve(0).map_err(over)?;
    let mut all = Vec::new();
    while let Some(page) = pages.next().await? {
        let found = page.series.iter().filter_map(newest_of);
        for one in found {
            reserved.grow(one.bytes()).map_err(over)?;
            all.push(one);
        }
    }
    // Names lie first among labels, but for labels that begin with a capital letter.
    all.sort_by(|a, b| a.labels.metric_name().cmp(&b.labels.metric_name()));
    Ok((all, reserved))
}

fn newest_of(series: &SeriesData) -> Option<Newest> {
    let float = series.floats.iter().rev().find_map(|column| column.samples().last());
    let histogram = series.histograms.last();
    let of = |timestamp, value| Some(Newest { labels: series.labels.clone(), timestamp, value });
    match (float, histogram) {
        (float, Some(point)) if float.is_none_or(|(time, _)| time <= point.timestamp) => {
            let histogram = Arc::clone(&point.histogram);
            (!histogram.is_stale()).then(|| of(point.timestamp, Value::Histogram(histogram)))?
        }
        (Some((_, value)), _) if is_stale(value) => None,
        (Some((timestamp, value)), _) => of(timestamp, Value::Float(value)),
        (None, _) => None,
    }
}

impl Newest {
    /// What it takes in memory, roughly.
    fn bytes(&self) -> u64 {
        let of_histogram = match &self.value {
            Value::Float(_) => 0,
            Value::Histogram(histogram) => 256 + 8 * histogram.custom_values.len(),
        };
        (self.labels.run().len() + 96 + of_histogram) as u64
    }
}

/// The families, a piece at a time.
fn body(families: Families, form: Form, reserved: Reservation) -> Body {
    let state = (families, reserved);
    let pieces = stream::unfold(state, move |(mut families, reserved)| async move {
        let mut out = Vec::new();
        while out.len() < PIECE_BYTES {
            let Some(family) = families.next() else { break };
            match form {
                Form::Text(escaping) => text::put(&mut out, &family, escaping),
                Form::Delimited(escaping) => protobuf::put(&mut out, &family, escaping),
            }
        }
        let piece = Ok::<_, std::convert::Infallible>(axum::body::Bytes::from(out));
        let is_end = piece.as_ref().is_ok_and(|bytes| bytes.is_empty());
        (!is_end).then_some((piece, (families, reserved)))
    });
    // Compression asks once more behind the end.
    Body::from_stream(pieces.fuse())
}

#[cfg(test)]
mod tests;
