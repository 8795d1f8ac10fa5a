//! The query-frontend: the HTTP side of queries, as Prometheus's API.
//!
//! On the path: Grafana, curl → **query-frontend** → querier.
//!
//! Always true:
//! - every route answers GET and POST alike, the URL's and the form's parameters together;
//! - every answer is JSON with a `status`, and an error says by its `errorType` and its HTTP status who has to act.

mod absent;
mod error;
mod exemplars;
mod http;
mod json;
mod labels;
mod metadata;
mod params;
mod query;
mod syntax;

pub use http::{Deps, routes};
