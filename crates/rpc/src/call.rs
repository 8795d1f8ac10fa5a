//! What every call carries beside its message: the tenant, the time that is left, the trace.

use std::time::{Duration, Instant};

use model::TenantId;
use runtime::{Clock, TraceContext};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Status};

use crate::generated::firn::ErrorDetail;
use crate::generated::firn::error_detail::Kind;

/// The tenant, as over HTTP.
const TENANT: &str = "x-scope-orgid";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const TIMEOUT: &str = "grpc-timeout";
/// Bytes of the message, so that the receiver can make room before it reads them.
pub(crate) const MESSAGE_BYTES: &str = "firn-message-bytes";
/// Bytes of labels in the batch once it is decoded; the rest of it takes as much as in the message.
pub(crate) const LABEL_BYTES: &str = "firn-label-bytes";

/// No call waits longer than this, whoever calls.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A request with its tenant, its time and the trace that it belongs to.
pub(crate) fn request<T>(message: T, tenant: Option<&TenantId>, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    let metadata = request.metadata_mut();
    if let Some(tenant) = tenant {
        put(metadata, TENANT, tenant.as_str());
    }
    if let Some(trace) = TraceContext::current() {
        put(metadata, TRACEPARENT, trace.traceparent());
        if !trace.tracestate().is_empty() {
            put(metadata, TRACESTATE, trace.tracestate());
        }
    }
    request
}

/// Puts text that was checked before; what is no header value is left out.
pub(crate) fn put(metadata: &mut MetadataMap, key: &'static str, value: &str) {
    if let Ok(value) = MetadataValue::<Ascii>::try_from(value) {
        metadata.insert(key, value);
    }
}

fn get<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key)?.to_str().ok()
}

/// The tenant of a call.
pub(crate) fn tenant(metadata: &MetadataMap) -> Result<TenantId, Status> {
    let invalid = |why: String| ErrorDetail::of(Kind::Invalid, why).into_status();
    tenant_id(get(metadata, TENANT).ok_or_else(|| invalid(format!("the call has no {TENANT}")))?)
}

/// A tenant that a call names.
pub(crate) fn tenant_id(id: &str) -> Result<TenantId, Status> {
    TenantId::new(id).map_err(|e| ErrorDetail::of(Kind::Invalid, format!("{TENANT}: {e}")).into_status())
}

/// The trace of a call.
pub(crate) fn trace(metadata: &MetadataMap) -> Option<TraceContext> {
    TraceContext::parse(get(metadata, TRACEPARENT)?, get(metadata, TRACESTATE).unwrap_or_default())
}

/// When the caller stops waiting.
pub(crate) fn deadline(metadata: &MetadataMap, clock: &Clock) -> Instant {
    let timeout = get(metadata, TIMEOUT).and_then(parse_timeout).unwrap_or(LONGEST);
    clock.instant() + timeout.min(LONGEST)
}

/// A number of at most eight digits and a unit, as gRPC has it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_they_are_written() {
        for timeout in [Duration::from_millis(1), Duration::from_millis(2500), Duration::from_secs(86_400)] {
            let request = request((), None, timeout);
            let text = get(request.metadata(), TIMEOUT).unwrap();
            assert_eq!(parse_timeout(text), Some(timeout), "{text}");
        }
        for bad in ["", "S", "1", "123456789S", "-1S", "1h", "1é"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn tenant_and_trace_arrive() {
        let tenant = TenantId::new("team-1").unwrap();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::parse(parent, "a=b").unwrap();
        let made = async { request((), Some(&tenant), Duration::from_secs(1)) };
        let request = trace.clone().scope(made).await;
        assert_eq!(super::tenant(request.metadata()).unwrap(), tenant);
        assert_eq!(super::trace(request.metadata()), Some(trace));
        assert!(super::tenant(&MetadataMap::new()).is_err());
    }
}
