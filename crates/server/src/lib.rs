//! How a process shows itself: the listener, readiness, its own metrics, the tenant of a request.
//!
//! On the path: every request enters here, before distributor and query-frontend, and leaves here.
//!
//! Always true:
//! - the address is bound before anything else starts, so that a bad port fails at once;
//! - until the process is open for business its routes answer 503 and name the reason;
//! - a panic in a handler costs its own request a 500 and nothing else.

mod accept;
mod gate;
mod listen;
mod metrics;
mod ops;
mod process;
mod tenant;
mod time;
mod trace;

pub use gate::{Gate, InFlight, Routes, Unready};
pub use listen::{Bound, Config, ListenError, Serve};
pub use metrics::{HttpMetrics, SharedRegistry};
pub use ops::{Ops, Overrides, SetLevel, Text, routes as ops_routes};
pub use process::{memory_metrics, process_metrics};
pub use tenant::{TENANT_HEADER, TenantError, tenant, tenants};
pub use time::{format_time, parse_time};
