//! PromQL: parse, plan, evaluate over a source. No I/O.
//!
//! On the path: query-frontend → querier → **promql** → (querier's source).

mod annotations;
pub mod ast;
mod durations;
mod error;
mod eval;
mod experimental;
mod functions;
mod go_math;
pub mod histogram;
mod lexer;
mod number;
mod ops;
mod parser;
mod plan;
mod pretty;
mod printer;
mod projection;
mod selects;
mod signature;
mod text;
mod walk;

pub use annotations::{Annotations, speaks_of_range};
pub use durations::resolve_durations;
pub use error::{ParseError, line_col};
pub use eval::{EvalError, EvalStats, Evaluated, NoRoom, Room, set_reset_hints};
pub use experimental::{Enabled, Experimental};
pub use number::shortest as shortest_number;
pub use parser::{MAX_CHAIN, MAX_DEPTH, parse, parse_duration_millis, parse_number, parse_selector};
pub use plan::{EvalOptions, Pace, Plan, PlanError, SelectSpec};
pub use pretty::pretty;
pub use projection::Projection;
pub use signature::Signature;
pub use text::{as_utf8, is_invalid_byte, is_valid_label_name, quote};
pub use walk::{Descend, selectors, walk, walk_mut};
