//! The role of the query-frontend: takes questions over HTTP and has queriers answer them.
//!
//! On the path: Grafana → **query-frontend** → querier.

use std::sync::Arc;

use app::Node;
use axum::Router;
use wire::Query;

/// The routes of questions, answered by `querier`.
pub fn open(node: &mut Node, querier: Arc<dyn Query>) -> Router {
    query_frontend::routes(query_frontend::Deps {
        querier,
        multitenancy: node.config.multitenancy_enabled,
        clock: node.clock.clone(),
    })
}
