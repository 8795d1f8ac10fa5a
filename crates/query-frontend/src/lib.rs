//! The query-frontend: the HTTP side of queries, as Prometheus's API.
//!
//! On the path: Grafana, curl → **query-frontend** → querier.
//!
//! Always true:
//! - every route of data answers GET and POST alike, the URL's and the form's parameters together;
//! - every answer but those of others' forms (Mimir's, a search's, remote read, federation, export) is JSON with a `status`, and an error says by its `errorType` and its HTTP status who has to act.

mod absent;
mod blocks;
mod cardinality;
mod error;
mod exemplars;
mod export;
mod features;
mod federate;
mod frontend;
mod http;
mod json;
mod labels;
mod metadata;
mod numbers;
mod openapi;
mod params;
mod protobuf;
mod query;
mod raw;
mod read;
mod search;
mod self_metrics;
mod status;
mod syntax;

pub use frontend::{Config, Frontend, FrontendDeps};
pub use http::{Deps, routes};
pub use read::{ReadQuery, ReadRequest, ReadRequestError};
pub use status::Process;
