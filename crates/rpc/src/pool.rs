use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Member, Ring};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tonic::transport::{Channel, Endpoint};

use crate::metrics::CallMetrics;
use crate::{Config, IngesterClient};

/// Connections to ingesters, one each. A connection is made when it is first used and again whenever it was lost.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    clients: Mutex<HashMap<String, IngesterClient>>,
    metrics: Arc<CallMetrics>,
}

/// How it stands with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionState {
    /// Who is at the other end.
    pub member: String,
    /// Where.
    pub address: String,
    /// Why the newest call did not get through; `None` when it did, or when there was none yet.
    pub problem: Option<String>,
}

impl Pool {
    /// A pool without connections.
    pub fn new(config: &Config) -> Pool {
        let (config, metrics) = (Arc::new(config.clone()), Arc::default());
        Pool { inner: Arc::new(Inner { config, clients: Mutex::default(), metrics }) }
    }

    /// Shows which calls were answered.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The client of a member. `Err` says what is wrong with its address.
    pub fn client(&self, member: &Member) -> Result<IngesterClient, String> {
        let mut clients = self.inner.clients.lock();
        match clients.get(&member.name) {
            Some(client) if client.address() == member.address => return Ok(client.clone()),
            _ => {}
        }
        let client = IngesterClient::new(&member.name, &member.address, &self.inner.config)?;
        let client = client.counted(Arc::clone(&self.inner.metrics));
        clients.insert(member.name.clone(), client.clone());
        Ok(client)
    }

    /// Forgets connections to those who are no longer there.
    pub fn forget_others(&self, ring: &Ring) {
        self.inner.clients.lock().retain(|name, _| ring.member(name).is_some());
    }

    /// How it stands with every connection, by name.
    pub fn states(&self) -> Vec<ConnectionState> {
        let clients = self.inner.clients.lock();
        let mut states: Vec<ConnectionState> = clients.values().map(IngesterClient::state).collect();
        states.sort_by(|a, b| a.member.cmp(&b.member));
        states
    }
}

/// Messages on their way that a stream and a connection hold before they wait: a megabyte or two is what a select's chunk
/// takes, and a connection carries several.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// The most bytes of a frame that this side takes: answers come in few.
const FRAME: u32 = 128 << 10;

/// A channel that connects when it is used, notices when the other end is gone, and connects again.
pub(crate) fn channel(address: &str, config: &Config) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| format!("{address:?} is not an address: {e}"))?;
    let endpoint = endpoint
        .connect_timeout(config.connect_timeout.0)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(60)))
        .http2_keep_alive_interval(config.keep_alive_interval.0)
        .keep_alive_timeout(config.keep_alive_timeout.0)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME);
    Ok(endpoint.connect_lazy())
}
