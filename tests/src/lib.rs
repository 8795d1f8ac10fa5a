//! What the system tests are made with: the processes they start, the parts they need, the answers they compare.
//!
//! On the path: outside of it; everything here goes over HTTP, as a user would.

mod chance;
mod cluster;
mod fault_proxy;
mod firn;
mod http;
mod parts;
mod process;
mod prometheus;
mod remote_write;
mod store;
mod surface;

pub use chance::Chance;
pub use cluster::{Cluster, ClusterOptions, Storage};
pub use fault_proxy::{FaultProxy, ProxyFault, ProxyTarget};
pub use firn::{Firn, FirnOptions, Started};
pub use http::{
    Answer, RawAnswer, delete, get, get_json, get_json_with, get_with, post, post_form, put, send,
};
pub use parts::{part, shared};
pub use process::{Child, free_port, free_ports, now_ms, wait_until};
pub use prometheus::Prometheus;
pub use remote_write::{NativeHistogram, TimeSeries, WriteRequest, snappy, varint};
pub use store::{ACCESS_KEY, BUCKET, ObjectStore, REGION, SECRET_KEY, StoreKind};
pub use surface::{Samples, Surface, flush, metric, push, seconds};
