//! The traits of `wire` over real connections: what comes back is what a direct call gives.

mod ingester;
mod made;
mod near;
mod pull;
mod ring;
mod trouble;
