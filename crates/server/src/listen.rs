use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::middleware::from_fn;
use runtime::{PromDuration, Service, Shutdown};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutBody;

use crate::accept::{Bounds, accept};
use crate::trace;

/// Where the process listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the HTTP port. Without authentication Firn listens on loopback only unless told otherwise here.
    pub http_listen_address: String,
    /// The HTTP port: HTTP/1.1 and HTTP/2 without TLS. 0 takes a free one and logs it.
    pub http_listen_port: u16,
    /// Connections of the port at the same time, 0 for any number. Further ones wait to be accepted.
    pub http_listen_conn_limit: usize,
    /// How long a connection may take for the head of a request, and wait for the next request.
    pub http_server_idle_timeout: PromDuration,
    /// How long a process that was told to stop goes on as before while `/ready` says that it stops, so that load
    /// balancers notice in time.
    pub shutdown_delay: PromDuration,
    /// How long stopping may take before the process gives up waiting.
    pub graceful_shutdown_timeout: PromDuration,
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,ingester=debug`.
    pub log_level: String,
    /// `logfmt` or `json`.
    pub log_format: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            http_listen_address: "127.0.0.1".to_string(),
            http_listen_port: 9009,
            // Below the usual limit of 65,536 open files, with room for those of the log and the tables.
            http_listen_conn_limit: 10_000,
            // Mimir's default.
            http_server_idle_timeout: PromDuration::secs(120),
            shutdown_delay: PromDuration::secs(0),
            graceful_shutdown_timeout: PromDuration::secs(30),
            log_level: "info".to_string(),
            log_format: "logfmt".to_string(),
        }
    }
}

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port is taken, or the address is not ours.
    #[error("listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// A bound port that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    bounds: Bounds,
}

impl Config {
    fn bounds(&self) -> Bounds {
        let limit = u32::try_from(self.http_listen_conn_limit).unwrap_or(u32::MAX);
        let connections = if limit == 0 { u32::MAX } else { limit };
        // A connection has to end some time.
        let idle =
            if self.http_server_idle_timeout.is_zero() { MAX_IDLE } else { self.http_server_idle_timeout.0 };
        Bounds { connections, idle }
    }
}

/// The longest that a connection may be idle.
const MAX_IDLE: Duration = Duration::from_secs(24 * 3600);

impl Bound {
    /// Binds the configured port.
    pub async fn bind(config: &Config) -> Result<Bound, ListenError> {
        let address = format!("{}:{}", config.http_listen_address, config.http_listen_port);
        let bound = Bound::bind_to(&address).await?;
        Ok(Bound { bounds: config.bounds(), ..bound })
    }

    /// Binds `host:port`.
    pub async fn bind_to(address: &str) -> Result<Bound, ListenError> {
        let fail = |source| ListenError::Bind { address: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Bound { listener, address, bounds: Config::default().bounds() })
    }

    /// The address in force.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The service that answers on this port with `routes`.
    pub fn serve(self, routes: Router) -> Serve {
        let routes = routes.layer(CatchPanicLayer::new()).layer(from_fn(trace::within));
        Serve { listener: self.listener, routes, bounds: self.bounds }
    }
}

/// Accepts connections until told to stop, then lets the requests in flight finish.
#[derive(Debug)]
pub struct Serve {
    listener: TcpListener,
    routes: Router,
    bounds: Bounds,
}

impl Service for Serve {
    const NAME: &'static str = "http";
    type Error = ListenError;

    async fn run(self, shutdown: Shutdown) -> Result<(), ListenError> {
        let routes = bounded(self.routes);
        if !accept(self.listener, routes, self.bounds, DRAIN, shutdown).await {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests cut off after the drain");
        }
        Ok(())
    }
}

/// How long requests in flight may take to finish when the process stops. Everything that was acknowledged is safe by
/// then, and a client that stopped in the middle of its body would otherwise hold up the end.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a request's body may pause before the request is given up.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(30);

fn bounded(routes: Router) -> Router {
    routes.layer(MapRequestLayer::new(|request: Request| {
        // A stream between our processes may have nothing to say for hours; it has deadlines and keep-alive of its own.
        if is_grpc(&request) {
            return request;
        }
        request.map(|body| Body::new(TimeoutBody::new(BODY_PAUSE_MAX, body)))
    }))
}

pub(crate) fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
