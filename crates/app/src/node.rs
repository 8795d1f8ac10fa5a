use std::future::Future;
use std::pin::Pin;

use axum::Router;
use limits::LimitsHandle;
use runtime::{Clock, Supervisor};
use server::{HttpMetrics, SharedRegistry};

use crate::config::Config;
use crate::memory::{Shares, Split};

/// What a process has one of.
#[derive(Debug)]
pub struct Node {
    /// All that was configured, of other roles too.
    pub config: Config,
    /// Time.
    pub clock: Clock,
    /// `/metrics`.
    pub registry: SharedRegistry,
    /// What each use of memory may take.
    pub memory: Shares,
    /// What tenants may do.
    pub limits: LimitsHandle,
    /// Runs what lives; stops in the reverse order of starting.
    pub supervisor: Supervisor,
    /// Counts requests.
    pub http: HttpMetrics,
}

/// A role that a binary can play.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its name for `-target`.
    pub name: &'static str,
    /// What it consists of, for `/services`.
    pub services: &'static [&'static str],
    /// How it splits its memory.
    pub memory: Split,
    /// Makes it.
    pub wire: Wiring,
}

/// Opens and starts what a role needs and returns the routes that it serves.
pub type Wiring = for<'a> fn(&'a mut Node) -> Wired<'a>;

type Wired<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Router>> + Send + 'a>>;
