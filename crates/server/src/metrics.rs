use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use runtime::Clock;

/// The process's own metrics: a registry per component.
#[derive(Debug, Clone, Default)]
pub struct SharedRegistry {
    registries: Arc<Mutex<Vec<Registry>>>,
}

impl SharedRegistry {
    /// No metrics yet.
    pub fn new() -> SharedRegistry {
        SharedRegistry::default()
    }

    /// Shows a registry with names of its own.
    pub fn attach(&self, registry: Registry) {
        self.registries.lock().push(registry);
    }

    /// Lets a component register its metrics.
    pub fn with<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = Registry::with_prefix("firn");
        let component = register(&mut registry);
        self.attach(registry);
        component
    }

    /// The sum of all series of a metric, by its name in the exposition; `None` when there is none.
    pub fn value(&self, name: &str) -> Option<f64> {
        let mut text = String::new();
        self.encode(&mut text).ok()?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values =
            text.lines().filter(of_name).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.reduce(|sum, value| sum + value)
    }

    /// All metrics in OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _written = self.encode(&mut text);
        text
    }

    fn encode(&self, text: &mut String) -> Result<(), fmt::Error> {
        self.registries.lock().iter().try_for_each(|registry| encode_registry(text, registry))
    }

    /// The exposition in OpenMetrics text.
    pub(crate) fn expose(&self) -> Response {
        let mut text = String::new();
        match self.encode(&mut text).and_then(|()| encode_eof(&mut text)) {
            Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
            Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("encode metrics: {e}")).into_response(),
        }
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts and times requests by route.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    duration: Family<RouteLabels, Histogram>,
    body_bytes: Counter,
    clock: Clock,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
    status_code: u16,
}

impl HttpMetrics {
    /// Registers the metrics.
    pub fn new(registry: &SharedRegistry, clock: Clock) -> HttpMetrics {
        let duration: Family<RouteLabels, Histogram> = Family::new_with_constructor(buckets);
        let body_bytes = Counter::default();
        registry.with(|r| {
            r.register("http_request_duration_seconds", "Time to answer requests", duration.clone());
            r.register("http_request_body_bytes", "Bytes announced by request bodies", body_bytes.clone());
        });
        HttpMetrics { duration, body_bytes, clock }
    }

    /// Wraps `routes` so that each of their requests is counted.
    pub fn around(&self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self.clone(), HttpMetrics::observe))
    }

    async fn observe(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
        let start = metrics.clock.instant();
        // The pattern, not the path, and no invented method: a metric must not grow with what clients make up.
        let method = known(request.method()).to_string();
        let route =
            request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_string();
        let announced =
            request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        metrics.body_bytes.inc_by(announced.unwrap_or(0));
        let response = next.run(request).await;
        metrics.record(start, RouteLabels { method, route, status_code: response.status().as_u16() });
        response
    }

    fn record(&self, start: Instant, labels: RouteLabels) {
        self.duration.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
    }
}

fn known(method: &Method) -> &str {
    match *method {
        Method::GET | Method::POST | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE => {
            method.as_str()
        }
        _ => "other",
    }
}

/// From a push that is answered at once to a query that takes its whole timeout.
fn buckets() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_adds_no_label_value() {
        let invented = Method::from_bytes(b"BREW").unwrap();
        assert_eq!((known(&Method::POST), known(&invented)), ("POST", "other"));
    }
}
