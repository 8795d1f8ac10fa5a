//! OTLP's one call over HTTP/2 without TLS. The generator needs no more of gRPC than a frame's five bytes and the
//! status in the trailers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use ureq::http::{HeaderMap, Request};

use super::{Accepted, Outcome, rejected_points};
use crate::Compression;

const METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Codes that OTLP has senders retry: cancelled, deadline exceeded, resource exhausted, aborted, out of range,
/// unavailable, data loss.
const RETRIED: [u16; 7] = [1, 4, 8, 10, 11, 14, 15];

/// A connection to each address, all on this thread.
pub(crate) struct Grpc {
    runtime: Runtime,
    connections: HashMap<String, Connection>,
}

struct Connection {
    send: SendRequest<Bytes>,
    /// Moves frames; it must be polled while a call waits.
    driver: Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>,
}

impl Grpc {
    pub(crate) fn new() -> anyhow::Result<Grpc> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        Ok(Grpc { runtime, connections: HashMap::new() })
    }

    pub(crate) fn send(
        &mut self,
        url: &str,
        tenant: Option<&str>,
        compression: Compression,
        message: &[u8],
    ) -> anyhow::Result<Outcome> {
        let mut frame = BytesMut::with_capacity(5 + message.len());
        let compressed = u8::from(compression != Compression::None);
        frame.extend_from_slice(&[compressed]);
        frame.extend_from_slice(&u32::try_from(message.len()).context("a message of 4 GiB")?.to_be_bytes());
        frame.extend_from_slice(message);
        let request = request(url, tenant, compression)?;
        let Grpc { runtime, connections } = self;
        runtime.block_on(async {
            let mut connection = match connections.remove(url) {
                Some(connection) => connection,
                None => connect(url).await.with_context(|| format!("connect to {url}"))?,
            };
            let send = connection.send.clone();
            let outcome = tokio::select! {
                biased;
                outcome = call(send, request, frame.freeze()) => outcome,
                ended = &mut connection.driver => {
                    // The server closed it: not an answer, so the request is sent again over another one.
                    return Ok(Outcome::Busy(format!("{url} closed the connection: {ended:?}")));
                }
            };
            let outcome = outcome.with_context(|| format!("push to {url}"))?;
            connections.insert(url.to_string(), connection);
            Ok(outcome)
        })
    }
}

async fn connect(url: &str) -> anyhow::Result<Connection> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (send, connection) = h2::client::handshake(stream).await?;
    Ok(Connection { send, driver: Box::pin(connection) })
}

fn request(url: &str, tenant: Option<&str>, compression: Compression) -> anyhow::Result<Request<()>> {
    let mut request = Request::post(format!("{}{METHOD}", url.trim_end_matches('/')))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = compression.name() {
        request = request.header("grpc-encoding", encoding);
    }
    if let Some(tenant) = tenant {
        request = request.header("x-scope-orgid", tenant);
    }
    Ok(request.body(())?)
}

async fn call(send: SendRequest<Bytes>, request: Request<()>, frame: Bytes) -> anyhow::Result<Outcome> {
    let mut send = send.ready().await?;
    let (response, mut body) = send.send_request(request, false)?;
    body.send_data(frame, true)?;
    let response = response.await?;
    if let Some(outcome) = failure(response.headers()) {
        return Ok(outcome); // "trailers only"
    }
    anyhow::ensure!(response.status().is_success(), "HTTP status {}", response.status());
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await?.context("an answer without grpc-status")?;
    if let Some(outcome) = failure(&trailers) {
        return Ok(outcome);
    }
    let rejected = message.get(5..).map_or(0, rejected_points);
    Ok(Outcome::Accepted(Accepted { written: None, rejected }))
}

fn failure(headers: &HeaderMap) -> Option<Outcome> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code: u16 = text("grpc-status")?.parse().ok()?;
    if code == 0 {
        return None;
    }
    let reason = format!("gRPC status {code}: {}", text("grpc-message").unwrap_or_default());
    let refused = |reason| Outcome::Refused { reason, accepted: Accepted::default() };
    Some(if RETRIED.contains(&code) { Outcome::Busy(reason) } else { refused(reason) })
}
