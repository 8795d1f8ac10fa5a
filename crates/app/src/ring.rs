use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cluster::RingWatch;

use crate::Node;

/// The ring that is configured. From now on a tenant's limits are shared among its members.
pub fn open_ring(node: &Node) -> anyhow::Result<RingWatch> {
    let config = &node.config.cluster;
    let ring = cluster::fixed(config)?;
    let n_ingesters = ring.borrow().members().len();
    node.limits.divide_among(config.distributors, n_ingesters as u32);
    Ok(ring)
}

/// `/ring`: who is there and who has which shard, as text, or as JSON for who accepts that.
pub fn ring_routes(ring: RingWatch) -> Router {
    Router::new().route("/ring", get(page)).with_state(ring)
}

async fn page(State(ring): State<RingWatch>, headers: HeaderMap) -> Response {
    let page = ring.borrow().page();
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/json") {
        Json(page).into_response()
    } else {
        page.to_string().into_response()
    }
}
