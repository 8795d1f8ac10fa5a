use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use model::TenantId;

use crate::answer::{Asker, Outcome, Problem};
use crate::body::{self, Content};
use crate::distributor::Distributor;
use crate::otlp::otlp_routes;
use crate::text::Given;

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
        let given = given(query.as_deref().unwrap_or_default())?;
        let tenant = shared.tenant(&headers)?;
        let encoding = body::negotiate_text(&headers)?;
        shared.distributor.import_text(&tenant, encoding, given, &headers, body).await
    };
    shared.answer(asker, outcome.await)
}

/// The parameters that VictoriaMetrics's endpoint of this path has too. Who sends one that we do not know must not find
/// other samples here than were meant.
fn given(query: &str) -> Result<Given, Problem> {
    let wrong = |what: String| Err(Problem::Parameters(what));
    let Ok(address) = format!("/?{query}").parse::<Uri>() else {
        return wrong("the address is no address".to_string());
    };
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(&address) else {
        return wrong(format!("{query:?} is not a list of parameters"));
    };
    let mut given = Given::default();
    for (name, value) in pairs {
        match name.as_str() {
            "timestamp" => match value.parse::<i64>() {
                // VictoriaMetrics's way to say nothing.
                Ok(0) => given.timestamp = None,
                Ok(timestamp) => given.timestamp = Some(timestamp),
                Err(_) => return wrong(format!("timestamp is {value:?}, must be milliseconds")),
            },
            "extra_label" => match value.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    given.labels.retain(|(known, _)| known != name);
                    given.labels.push((name.to_string(), value.to_string()));
                }
                _ => return wrong(format!("extra_label is {value:?}, must be name=value")),
            },
            _ => return wrong(format!("unknown parameter {name:?}; known are timestamp and extra_label")),
        }
    }
    Ok(given)
}

impl Shared {
    fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, Problem> {
        Ok(server::tenant(headers, self.multitenancy)?)
    }

    fn answer(&self, asker: Asker, outcome: Result<Outcome, Problem>) -> Response {
        let outcome = outcome.unwrap_or_else(|problem| problem.into());
        let response = match &outcome.problem {
            None if outcome.is_deduplicated => StatusCode::ACCEPTED.into_response(),
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
