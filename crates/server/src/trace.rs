//! The trace that a request belongs to: read at the door, in force while it is answered, so that every call that it
//! causes carries it on.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use runtime::TraceContext;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Tells the caller under which trace it was answered (W3C Trace Context, level 2).
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Answers a request as part of the trace that it names, and says so in the answer.
pub(crate) async fn within(request: Request, next: Next) -> Response {
    let Some(trace) = context(request.headers()) else { return next.run(request).await };
    let named = HeaderValue::from_str(trace.traceparent());
    let mut response = trace.scope(next.run(request)).await;
    if let Ok(named) = named {
        response.headers_mut().insert(TRACERESPONSE, named);
    }
    response
}

fn context(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext::parse(text(TRACEPARENT)?, text(TRACESTATE).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// What a handler sees of a request with this `traceparent`, and what the caller is told.
    async fn check(traceparent: &str, seen: &str, told: Option<&str>) {
        let says = || async {
            TraceContext::current().map_or(String::new(), |t| format!("{} {}", t.trace_id(), t.tracestate()))
        };
        let routes = Router::new().route("/", get(says)).layer(from_fn(within));
        let request = Request::builder()
            .uri("/")
            .header("traceparent", traceparent)
            .header("tracestate", "a=b")
            .body(Body::empty())
            .unwrap();
        let response = routes.oneshot(request).await.unwrap();
        let header = response.headers().get("traceresponse").map(|value| value.to_str().unwrap().to_string());
        assert_eq!(header.as_deref(), told, "{traceparent}");
        let body = to_bytes(response.into_body(), 1 << 10).await.unwrap();
        assert_eq!(body, seen, "{traceparent}");
    }

    #[tokio::test]
    async fn a_request_is_answered_within_the_trace_that_it_names_and_within_none_that_is_malformed() {
        check(PARENT, &format!("{} a=b", &PARENT[3..35]), Some(PARENT)).await;
        check("00-nonsense", "", None).await;
    }
}
