//! The traits of `wire` between processes, over gRPC.
//!
//! On the path: distributor → **rpc** → ingester; querier → **rpc** → ingester; query-frontend → **rpc** → querier;
//! compactor → **rpc** → ingester. Each side holds a trait and does not know that there is a network.
//!
//! Always true:
//! - an error is the same kind on both sides, a limit has the same name and values;
//! - a call carries its tenant, its trace and the time that is left, and the far side works no longer than that;
//! - a series that was met before is pushed by its identity alone; where it is unknown nothing of it is taken, and it comes
//!   again with its labels before the push is answered;
//! - nothing waits in an unbounded queue: what is too much is refused by name and may come again;
//! - whoever cannot be asked is named; an answer that does not end with its end is none.

mod answer;
mod call;
mod client;
mod convert;
mod error;
mod generated;
mod guard;
mod health;
mod limit_names;
mod metrics;
mod pool;
pub mod pull;
mod ring;
mod server;
mod stream;

use std::convert::Infallible;

use axum::Router;
use axum::http::Request;
use axum::response::IntoResponse;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::service::Routes;

pub use client::IngesterClient;
pub use config::rpc::Config;
pub use health::{Health, health_routes};
pub use pool::{ConnectionState, Pool};
pub use ring::{RingAdmin, RingPush, RingSelect};
pub use server::{IngesterDeps, Place, ingester_routes};

/// The routes of one service, without an answer to paths that it does not have: others share the port.
fn alone<S>(service: S) -> Router
where
    S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    Routes::from(Router::new()).add_service(service).into_axum_router()
}
