use serde::{Deserialize, Serialize};

/// Settings of the distributor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes for remembering label runs, over all tenants. A series takes about 200; what does not fit is
    /// validated anew in each request.
    pub memo_bytes: u64,
    /// Where OpenTelemetry's senders are listened to by gRPC, `host:port`, beside the process's own port; empty for
    /// nowhere.
    pub otlp_grpc_listen_address: String,
    /// Where they are listened to by HTTP.
    pub otlp_http_listen_address: String,
}

impl Default for Config {
    fn default() -> Config {
        // The ports that senders know by default. Without authentication on loopback only.
        Config {
            memo_bytes: 64 << 20,
            otlp_grpc_listen_address: "127.0.0.1:4317".to_string(),
            otlp_http_listen_address: "127.0.0.1:4318".to_string(),
        }
    }
}
