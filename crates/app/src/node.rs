use std::future::Future;
use std::pin::Pin;

use axum::Router;
use limits::{LimitsHandle, OverridesView};
use runtime::{Clock, Supervisor};
use server::{Bound, Gate, HttpMetrics, Routes, SharedRegistry};

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
    /// Whether the file of overrides is in force.
    pub overrides: OverridesView,
    /// Runs what lives; stops in the reverse order of starting.
    pub supervisor: Supervisor,
    /// Counts requests.
    pub http: HttpMetrics,
    /// Before the routes of each port; the first is that of the process's own port.
    pub(crate) gates: Vec<Gate>,
}

impl Node {
    /// Opens a port beside the process's own. Requests wait behind the gate that is returned until it is opened; it is
    /// closed with the others when the process stops.
    pub async fn listen(&mut self, address: &str) -> anyhow::Result<Gate> {
        let bound = Bound::bind_to(address).await?;
        let gate = Gate::closed("starting");
        let behind = gate.clone();
        let routes = Router::new().fallback(move |request| behind.answer(request));
        self.supervisor.start(bound.serve(routes));
        self.gates.push(gate.clone());
        Ok(gate)
    }

    /// The gate of the process's own port, for a role that stops taking work before the process ends.
    pub fn gate(&self) -> Gate {
        self.gates.first().cloned().unwrap_or_else(|| Gate::closed("no port"))
    }
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

type Wired<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Routes>> + Send + 'a>>;
