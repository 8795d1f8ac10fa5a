//! Tables live: they are filled by an ingester, merged, thinned out and emptied, and read all the while.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod deletes;
mod http;
mod life;
mod races;
mod world;
