//! What a tenant may do: sizes, rates and windows, with overrides per tenant that can change while Firn runs.
//!
//! On the path: beside every step that can refuse; the distributor asks about labels, bodies and rates, the
//! ingester about series and windows, the querier about queries.
//!
//! Always true:
//! - a limit of 0 is off, whatever it limits;
//! - a refusal names the limit by its key in the configuration;
//! - the generation grows with every change, so whoever remembers a verdict knows when to forget it.

mod bucket;
mod fair;
mod handle;
mod names;
mod otel;
mod relabel;
mod reload;
mod set;

pub use bucket::TokenBucket;
pub use fair::Fair;
pub use handle::{LimitsConfig, LimitsError, LimitsHandle};
pub use names::{EnabledNames, Names};
pub use otel::TranslationStrategy;
pub use relabel::{RelabelAction, RelabelConfig, RelabelError, Relabelling};
pub use reload::{OverridesView, Reload, ReloadError};
pub use runtime::{DurationError, PromDuration, format_duration, parse_duration};
pub use set::{Limits, Overrides};
