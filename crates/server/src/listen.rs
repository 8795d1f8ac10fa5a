use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use runtime::{PromDuration, Service, Shutdown};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutBody;

/// Where the process listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the HTTP port. Without authentication Firn listens on loopback only unless told otherwise here.
    pub http_listen_address: String,
    /// The HTTP port: HTTP/1.1 and HTTP/2 without TLS. 0 takes a free one and logs it.
    pub http_listen_port: u16,
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
    /// Accepting connections failed.
    #[error("serve: {0}")]
    Serve(#[from] std::io::Error),
}

/// A bound port that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds the configured port.
    pub async fn bind(config: &Config) -> Result<Bound, ListenError> {
        Bound::bind_to(&format!("{}:{}", config.http_listen_address, config.http_listen_port)).await
    }

    /// Binds `host:port`.
    pub async fn bind_to(address: &str) -> Result<Bound, ListenError> {
        let fail = |source| ListenError::Bind { address: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Bound { listener, address })
    }

    /// The address in force.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The service that answers on this port with `routes`.
    pub fn serve(self, routes: Router) -> Serve {
        Serve { listener: self.listener, routes: routes.layer(CatchPanicLayer::new()) }
    }
}

/// Accepts connections until told to stop, then lets the requests in flight finish.
#[derive(Debug)]
pub struct Serve {
    listener: TcpListener,
    routes: Router,
}

impl Service for Serve {
    const NAME: &'static str = "http";
    type Error = ListenError;

    async fn run(self, mut shutdown: Shutdown) -> Result<(), ListenError> {
        let mut told = shutdown.clone();
        let routes = bounded(self.routes);
        let serving =
            axum::serve(self.listener, routes).with_graceful_shutdown(async move { shutdown.wait().await });
        let out_of_patience = async {
            told.wait().await;
            runtime::sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving => served?,
            () = out_of_patience => tracing::warn!(seconds = DRAIN.as_secs(), "requests cut off after the drain"),
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
