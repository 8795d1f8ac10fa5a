//! The metrics service over gRPC: one message in, one out. A frame is a byte that says whether the message is packed,
//! four bytes of length, and the message.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Full};

use super::answer::Refusal;
use super::receive::{Packing, Taken};
use crate::body::{BodyError, Unsupported};

const ENCODING: &str = "grpc-encoding";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// How the messages of a request are packed, where they are.
pub(super) fn packing(headers: &HeaderMap) -> Result<Packing, Unsupported> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = text(header::CONTENT_TYPE.as_str());
    if !matches!(media, "application/grpc" | "application/grpc+proto") {
        return Err(Unsupported::Type(media.to_string()));
    }
    match text(ENCODING) {
        "" | "identity" => Ok(Packing::Plain),
        "gzip" => Ok(Packing::Gzip),
        "zstd" => Ok(Packing::Zstd),
        other => Err(Unsupported::Encoding(other.to_string(), "gzip, zstd or identity")),
    }
}

/// The one message of a request, and how it is packed.
pub(super) fn message(frame: &[u8], packing: Packing) -> Result<(&[u8], Packing), BodyError> {
    let corrupt = |what: &str| BodyError::Corrupt { codec: "gRPC", what: what.to_string() };
    let Some(([packed, length @ ..], message)) = frame.split_first_chunk::<5>() else {
        return Err(corrupt("there is no whole frame"));
    };
    if u32::from_be_bytes(*length) as usize != message.len() {
        return Err(corrupt("the frame's length is not that of one message"));
    }
    match (packed, packing) {
        (0, _) => Ok((message, Packing::Plain)),
        (1, Packing::Plain) => Err(corrupt("the message is packed, but grpc-encoding does not say how")),
        (1, packing) => Ok((message, packing)),
        _ => Err(corrupt("the first byte of the frame is neither 0 nor 1")),
    }
}

/// The answer to a request that was taken.
pub(super) fn taken(taken: &Taken) -> Response {
    let message = taken.to_protobuf();
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let body = Full::from(frame).with_trailers(async move { Some(Ok(trailers)) });
    (headers(), Body::new(body)).into_response()
}

/// The answer to a request that was refused whole: headers that are trailers at the same time.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let mut headers = headers();
    headers.insert(STATUS, HeaderValue::from(refusal.code as u32));
    headers.insert(MESSAGE, percent_encoded(&refusal.message));
    if refusal.retry_after.is_some() {
        let details = super::value::base64(&refusal.to_protobuf());
        if let Ok(details) = HeaderValue::try_from(details) {
            headers.insert(DETAILS, details);
        }
    }
    (headers, Body::empty()).into_response()
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (ACCEPTED, HeaderValue::from_static("identity,gzip,zstd")),
    ])
}

fn percent_encoded(message: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}
