//! `/read`: Prometheus's remote read. A Prometheus that has Firn as its `remote_read` evaluates queries itself over the
//! series that come from here.

mod histogram;
mod request;
mod samples;
mod streamed;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::TenantIds;

pub use request::{ReadQuery, ReadRequest, ReadRequestError};

use crate::error::ApiError;
use crate::http::Deps;
use crate::raw::{Answer, Gate, Pages, Wanted};

/// The most bytes of a request, before and after it is unpacked; Prometheus's own bound for it.
const REQUEST_BYTES_MAX: usize = 32 << 20;

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-read-version");

/// The first version of Prometheus that reads start timestamps of floats and of histograms in chunks.
const STARTS_SINCE: (u32, u32) = (3, 14);

/// The forms of answers by their numbers in `ReadRequest.ResponseType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Samples,
    StreamedXorChunks,
}

#[derive(Clone)]
struct Reads {
    deps: Deps,
    gate: Gate,
}

/// `/read`
pub(crate) fn routes(deps: Deps, gate: Gate) -> Router {
    Router::new().route("/read", post(read)).with_state(Reads { deps, gate })
}

async fn read(State(reads): State<Reads>, headers: HeaderMap, body: Body) -> Response {
    match reads.answer(&headers, body).await {
        Ok(response) => response,
        Err(error) => error.as_text(),
    }
}

impl Reads {
    async fn answer(&self, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
        let tenants = self.deps.tenants(headers)?;
        let request = unpack(body).await?;
        let form = negotiate(&request.accepted)?;
        let failed = |e| ApiError::instead_of("remote read", &tenants, e);
        let place = self.gate.enter().await.map_err(failed)?;
        let queries = request.queries.into_iter().map(|query| self.pages(&tenants, query));
        let config = &self.deps.remote_read;
        let (content_type, encoding, body) = match form {
            Form::Samples => {
                let encoded = samples::encode(queries, config.sample_limit, &self.deps.memory).await;
                let body = encoded.map_err(|refusal| refusal.into_error(failed))?;
                ("application/x-protobuf", Some("snappy"), body)
            }
            Form::StreamedXorChunks => {
                let encoder = streamed::Frames::new(config.max_bytes_in_frame, knows_starts(headers));
                let body = Answer::new(queries, encoder, place).body("remote read").await.map_err(failed)?;
                ("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse", None, body)
            }
        };
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(VERSION, HeaderValue::from_static("0.1.0"));
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Ok(response)
    }

    fn pages(&self, tenants: &TenantIds, query: ReadQuery) -> Pages {
        let ReadQuery { range, matchers } = query;
        let wanted = Wanted { tenants: tenants.clone(), selectors: vec![matchers], range };
        Pages::new(self.deps.querier.clone(), self.deps.memory.clone(), wanted)
    }
}

/// Whether the reader says that it is a Prometheus which knows chunks with start timestamps. A request has no word for
/// it, and other readers fail at an encoding that they do not know.
fn knows_starts(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let Some(version) = agent.strip_prefix("Prometheus/") else { return false };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) >= STARTS_SINCE
}

async fn unpack(body: Body) -> Result<ReadRequest, ApiError> {
    let too_long = || ApiError::too_large(format!("a read request may have {REQUEST_BYTES_MAX} bytes"));
    let packed = Limited::new(body, REQUEST_BYTES_MAX).collect().await.map_err(|e| {
        if e.is::<LengthLimitError>() { too_long() } else { ApiError::bad_data(e.to_string()) }
    })?;
    let packed = packed.to_bytes();
    let malformed = |e: snap::Error| ApiError::bad_data(format!("the body is not snappy: {e}"));
    if snap::raw::decompress_len(&packed).map_err(malformed)? > REQUEST_BYTES_MAX {
        return Err(too_long());
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(&packed).map_err(malformed)?;
    ReadRequest::decode(&bytes).map_err(|e| ApiError::bad_data(e.to_string()))
}

/// The first form that there is; a reader that names none is an old one.
fn negotiate(accepted: &[u64]) -> Result<Form, ApiError> {
    let known = |number: &u64| match number {
        0 => Some(Form::Samples),
        1 => Some(Form::StreamedXorChunks),
        _ => None,
    };
    if accepted.is_empty() {
        return Ok(Form::Samples);
    }
    accepted.iter().find_map(known).ok_or_else(|| {
        ApiError::bad_data(format!(
            "server does not support any of the requested response types: {accepted:?}; \
             supported: SAMPLES (0), STREAMED_XOR_CHUNKS (1)"
        ))
    })
}
