//! The routes of OpenTelemetry.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use model::TenantId;

use super::answer::{Code, Refusal};
use super::grpc;
use super::receive::{Form, Packing};
use crate::answer::{Problem, one_line};
use crate::body::Unsupported;
use crate::distributor::Distributor;

#[derive(Clone)]
struct Shared {
    distributor: Arc<Distributor>,
    multitenancy: bool,
}

/// Prometheus's, Mimir's and OpenTelemetry's own.
const PREFIXES: [&str; 3] = ["/v1", "/otlp/v1", "/api/v1/otlp/v1"];

/// The endpoints of OpenTelemetry, over HTTP and gRPC alike: for the main port as for the ports that senders know by
/// default, 4317 and 4318. With `multitenancy` a request must name its tenant.
pub fn otlp_routes(distributor: Arc<Distributor>, multitenancy: bool) -> Router {
    let mut router = Router::new();
    for prefix in PREFIXES {
        router = router.route(&format!("{prefix}/metrics"), post(over_http));
        for signal in ["traces", "logs"] {
            router = router.route(&format!("{prefix}/{signal}"), post(not_here));
        }
    }
    let service = |signal: &str| {
        let name = [&signal[..1].to_uppercase(), &signal[1..]].concat();
        let plural = if signal == "trace" { "trace" } else { signal };
        format!("/opentelemetry.proto.collector.{plural}.v1.{name}Service/Export")
    };
    router = router.route(&service("metrics"), post(over_grpc));
    for signal in ["trace", "logs"] {
        router = router.route(&service(signal), post(not_served));
    }
    router.with_state(Shared { distributor, multitenancy })
}

async fn over_http(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let negotiated = negotiate(&headers);
    // Who sent something else may at least be able to read JSON.
    let form = negotiated.as_ref().map_or(Form::Json, |(form, _)| *form);
    let outcome = async {
        let tenant = shared.tenant(&headers)?;
        shared.distributor.otlp(&tenant, negotiated?, &headers, body).await
    };
    match outcome.await {
        Ok(taken) => taken.into_http(form),
        Err(problem) => shared.refusal(&problem, &headers).into_http(form),
    }
}

async fn over_grpc(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let tenant = shared.tenant(&headers)?;
        let packing = grpc::packing(&headers)?;
        shared.distributor.otlp(&tenant, (Form::Grpc, packing), &headers, body).await
    };
    match outcome.await {
        Ok(taken) => grpc::taken(&taken),
        Err(problem) => grpc::refused(&shared.refusal(&problem, &headers)),
    }
}

const NOT_HERE: &str = "Firn takes metrics on this port; it does not take traces and logs yet";

async fn not_here() -> Response {
    (StatusCode::NOT_FOUND, NOT_HERE).into_response()
}

async fn not_served() -> Response {
    let (code, status) = (Code::Unimplemented, StatusCode::NOT_FOUND);
    grpc::refused(&Refusal { code, status, message: one_line(NOT_HERE), retry_after: None })
}

/// How the body of a request over HTTP is written and packed.
fn negotiate(headers: &HeaderMap) -> Result<(Form, Packing), Unsupported> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().trim();
    let content_type = text(header::CONTENT_TYPE);
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let form = match media.as_str() {
        "application/x-protobuf" => Form::Protobuf,
        "application/json" => Form::Json,
        _ => return Err(Unsupported::OtlpType(content_type.to_string())),
    };
    let packing = match text(header::CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "" | "identity" => Packing::Plain,
        "gzip" | "x-gzip" => Packing::Gzip,
        "zstd" => Packing::Zstd,
        other => return Err(Unsupported::Encoding(other.to_string(), "gzip, zstd or nothing")),
    };
    Ok((form, packing))
}

impl Shared {
    fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, Problem> {
        Ok(server::tenant(headers, self.multitenancy)?)
    }

    fn refusal(&self, problem: &Problem, headers: &HeaderMap) -> Refusal {
        if let Some(reason) = problem.reason() {
            self.distributor.metrics.refused_request(reason);
        }
        let attempt = headers.get("grpc-previous-rpc-attempts").and_then(|v| v.to_str().ok()?.parse().ok());
        let refusal = Refusal::of(problem, attempt.unwrap_or(0), runtime::random_u64());
        let status = refusal.status.as_u16();
        if refusal.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(status, error = %problem, "write failed");
        } else {
            tracing::debug!(status, error = %problem, "write refused");
        }
        refusal
    }
}
