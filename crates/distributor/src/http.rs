use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use model::TenantId;

use crate::answer::{Asker, Outcome, Problem};
use crate::body::{self, Content};
use crate::distributor::Distributor;
use crate::otlp::otlp_routes;

#[derive(Clone)]
struct Shared {
    distributor: Arc<Distributor>,
    multitenancy: bool,
}

/// The write endpoints. With `multitenancy` a request must name its tenant.
pub fn routes(distributor: Arc<Distributor>, multitenancy: bool) -> Router {
    let mut router = Router::new();
    for prefix in ["", "/prometheus"] {
        for path in ["push", "write"] {
            router = router.route(&format!("{prefix}/api/v1/{path}"), get(probe).post(remote_write));
        }
        router = router.route(&format!("{prefix}/api/v1/import/prometheus"), post(import_text));
    }
    let state = Shared { distributor: Arc::clone(&distributor), multitenancy };
    router.with_state(state).merge(otlp_routes(distributor, multitenancy))
}

/// vmagent before 1.116 asks with GET which of its protocols we speak; nothing else is to be got here.
async fn probe(RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    if query.split('&').any(|pair| pair == "get_vm_proto_version=1") {
        return "1".into_response();
    }
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], "send POST").into_response()
}

async fn remote_write(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let content = body::negotiate(&headers);
    let asker = Asker::new(&headers, content.as_ref().copied().unwrap_or_default());
    let distributor = &shared.distributor;
    let outcome = async {
        let tenant = shared.tenant(&headers)?;
        distributor.remote_write(&tenant, content?, &headers, body).await
    };
    shared.answer(asker, outcome.await)
}

async fn import_text(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let asker = Asker::new(&headers, Content::default());
    let outcome = async {
        without_parameters(query.as_deref().unwrap_or_default())?;
        let tenant = shared.tenant(&headers)?;
        let encoding = body::negotiate_text(&headers)?;
        shared.distributor.import_text(&tenant, encoding, &headers, body).await
    };
    shared.answer(asker, outcome.await)
}

/// VictoriaMetrics's endpoint of this path has parameters that change what is stored (`timestamp`, `extra_label`); who
/// sends one that we do not know must not find other samples here than were meant.
fn without_parameters(query: &str) -> Result<(), Problem> {
    let names = query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty());
    let names: Vec<&str> = names.collect();
    if names.is_empty() { Ok(()) } else { Err(Problem::Parameters(names.join(", "))) }
}

impl Shared {
    fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, Problem> {
        Ok(server::tenant(headers, self.multitenancy)?)
    }

    fn answer(&self, asker: Asker, outcome: Result<Outcome, Problem>) -> Response {
        let outcome = outcome.unwrap_or_else(|problem| problem.into());
        let response = match &outcome.problem {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(problem) => self.refuse(asker, problem),
        };
        asker.count(outcome.written, response)
    }

    fn refuse(&self, asker: Asker, problem: &Problem) -> Response {
        if let Some(reason) = problem.reason() {
            self.distributor.metrics.refused_request(reason);
        }
        let response = asker.answer(problem, runtime::random_u64());
        let status = response.status().as_u16();
        if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(status, error = %problem, "write failed");
        } else {
            tracing::debug!(status, error = %problem, "write not accepted whole");
        }
        response
    }
}
