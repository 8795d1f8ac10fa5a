use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use runtime::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What connections may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How many there may be; further ones wait to be accepted.
    pub(crate) connections: u32,
    /// How long one may take for the head of a request, and wait for the next one.
    pub(crate) idle: Duration,
}

/// How long nothing is accepted after the system had no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until told to stop, then lets the requests in flight finish within `drain`. Says whether they
/// did.
pub(crate) async fn accept(
    listener: TcpListener,
    routes: Router,
    bounds: Bounds,
    drain: Duration,
    mut shutdown: Shutdown,
) -> bool {
    let places = Arc::new(Semaphore::new(bounds.connections as usize));
    loop {
        let next = next_connection(&listener, &places);
        let (stream, place) = tokio::select! {
            next = next => match next {
                Ok(next) => next,
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    if !is_the_clients(&error) {
                        runtime::sleep(PAUSE).await;
                    }
                    continue;
                }
            },
            () = shutdown.wait() => break,
        };
        runtime::spawn(serve(stream, routes.clone(), bounds.idle, shutdown.clone(), place));
    }
    drop(listener);
    runtime::timeout(drain, places.acquire_many(bounds.connections)).await.is_some()
}

/// Whether a client went away before it was accepted, which says nothing about the next one.
fn is_the_clients(error: &Error) -> bool {
    let kinds = [ErrorKind::ConnectionRefused, ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset];
    kinds.contains(&error.kind())
}

/// The most bytes of a frame of HTTP/2: a batch between roles comes in one instead of several.
const FRAME: u32 = 128 << 10;

/// A connection and its place among those that may be.
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    // The last bytes of an answer shall not wait for the acknowledgement of those before them.
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn serve(
    stream: TcpStream,
    routes: Router,
    idle: Duration,
    mut shutdown: Shutdown,
    _place: Option<OwnedSemaphorePermit>,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(idle).enable_connect_protocol().max_frame_size(FRAME);
    let service = TowerToHyperService::new(routes);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use runtime::ShutdownHandle;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    struct Stand {
        address: std::net::SocketAddr,
        stop: ShutdownHandle,
        served: JoinHandle<bool>,
    }

    async fn stand(connections: u32, idle: Duration) -> Stand {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, shutdown) = Shutdown::new();
        let routes = Router::new().route("/", get(|| async { "here" }));
        let bounds = Bounds { connections, idle };
        let served = runtime::spawn(accept(listener, routes, bounds, Duration::from_secs(5), shutdown));
        Stand { address, stop, served }
    }

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    /// Whether an answer comes at once.
    async fn is_answered(stream: &mut TcpStream) -> bool {
        let mut bytes = [0; 512];
        let read = runtime::timeout(Duration::from_millis(300), stream.read(&mut bytes)).await;
        matches!(read, Some(Ok(n)) if bytes[..n].ends_with(b"here"))
    }

    #[tokio::test]
    async fn a_connection_that_does_not_end_its_head_is_closed() {
        let stand = stand(10, Duration::from_millis(100)).await;
        let mut slow = TcpStream::connect(stand.address).await.unwrap();
        slow.write_all(&ASK[..10]).await.unwrap();
        let mut rest = Vec::new();
        let closed = runtime::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await;
        assert!(closed.is_some(), "still open");
        let mut good = TcpStream::connect(stand.address).await.unwrap();
        good.write_all(ASK).await.unwrap();
        assert!(is_answered(&mut good).await);
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_for_a_place() {
        let stand = stand(1, Duration::from_secs(60)).await;
        let mut first = TcpStream::connect(stand.address).await.unwrap();
        first.write_all(ASK).await.unwrap();
        assert!(is_answered(&mut first).await);
        let mut second = TcpStream::connect(stand.address).await.unwrap();
        second.write_all(ASK).await.unwrap();
        assert!(!is_answered(&mut second).await);
        drop(first);
        assert!(is_answered(&mut second).await);
    }

    #[tokio::test]
    async fn idle_connections_do_not_hold_up_the_end() {
        let stand = stand(10, Duration::from_secs(60)).await;
        let mut idle = TcpStream::connect(stand.address).await.unwrap();
        idle.write_all(ASK).await.unwrap();
        assert!(is_answered(&mut idle).await);
        stand.stop.tell();
        let drained = runtime::timeout(Duration::from_secs(2), stand.served).await;
        assert!(matches!(drained, Some(Ok(true))), "{drained:?}");
    }
}
