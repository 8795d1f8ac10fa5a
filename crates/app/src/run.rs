use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use limits::{LimitsHandle, Reload};
use runtime::{Clock, MemoryBudget, Supervisor};
use server::{Bound, Gate, HttpMetrics, InFlight, Ops, Routes, SharedRegistry, Text};
use tokio::signal::unix::{SignalKind, signal};

use crate::allocator;
use crate::args::{self, Args};
use crate::config::Config;
use crate::health;
use crate::logs::{self, LogLevel};
use crate::memory::Shares;
use crate::node::{Node, Role};

/// The whole life of the process, for `main`. Of the roles, the first is the one that `-target=all` means.
pub fn run(roles: &[Role]) -> ExitCode {
    let args = match args::parse(env::args(), &Config::tree()) {
        Ok(args) => args,
        Err(e) => return say(&e),
    };
    if args.health {
        return say_health(&args.health_url);
    }
    let names: Vec<&str> = roles.iter().map(|role| role.name).collect();
    let config = match Config::load(&args, &names) {
        Ok(config) => config,
        Err(violations) => {
            eprintln!("firn: the configuration has {} violation(s):", violations.len());
            violations.iter().for_each(|violation| eprintln!("  {violation}"));
            return ExitCode::FAILURE;
        }
    };
    let Some(role) = roles.iter().find(|role| role.name == config.target).or(roles.first()) else {
        eprintln!("firn: this binary has no role");
        return ExitCode::FAILURE;
    };
    match start(&args, config, *role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("firn: {}", described(&e));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that the one before has told already.
fn described(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Help and version go to standard output, a wrong flag to standard error.
fn say(message: &clap::Error) -> ExitCode {
    let _printed = message.print();
    if message.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn say_health(url: &str) -> ExitCode {
    match health::check(url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("firn: {e}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args, config: Config, role: Role) -> anyhow::Result<()> {
    let yaml = config.yaml().map_err(anyhow::Error::msg)?;
    if args.print_config {
        print_config(&yaml);
        return Ok(());
    }
    if args.verify {
        return Ok(());
    }
    // Before any thread starts and anything is opened.
    allocator::keep_lean(config.memory_limit_bytes().map_err(anyhow::Error::msg)?);
    let clock = Clock::system();
    let level = logs::start(&config.server.log_level, &config.server.log_format, clock.clone());
    let level = level.map_err(anyhow::Error::msg)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(live(config, yaml, role, clock, level))
}

#[expect(clippy::print_stdout, reason = "the configuration is what was asked for")]
fn print_config(yaml: &str) {
    println!("{}", yaml.trim_end());
}

async fn live(config: Config, yaml: String, role: Role, clock: Clock, level: LogLevel) -> anyhow::Result<()> {
    let bound = Bound::bind(&config.server).await?;
    let registry = SharedRegistry::new();
    registry.attach(server::process_metrics(env!("CARGO_PKG_VERSION")));
    let gate = Gate::closed("starting: the log is being replayed");
    let http = HttpMetrics::new(&registry, clock.clone());
    let delay = config.server.shutdown_delay.0;
    let grace = config.server.graceful_shutdown_timeout.0;
    let limit = config.memory_limit_bytes().map_err(anyhow::Error::msg)?;
    tracing::info!(address = %bound.address(), target = role.name, version = env!("CARGO_PKG_VERSION"), memory_limit = limit, "starting");

    let limits = LimitsHandle::new(&config.limits)?;
    let reload =
        registry.with(|registry| Reload::open(&config.limits, limits.clone(), clock.clone(), registry))?;
    let overrides = reload.view();
    let shown = overrides.clone();

    let ops = Ops {
        gate: gate.clone(),
        registry: registry.clone(),
        config: yaml,
        runtime_config: Arc::new(move |only_differences| shown.show(only_differences)),
        services: services(role, gate.clone()),
        log_level: level.show(),
        set_log_level: level.set(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let mut supervisor = Supervisor::default();
    // The port opens first and closes last; while the log is replayed and while services stop, the gate answers.
    supervisor.start(bound.serve(server::ops_routes(ops)));
    supervisor.start(reload);

    let memory = Shares::of(&MemoryBudget::of_process(limit, runtime::resident_bytes()), role.memory);
    registry.attach(server::memory_metrics(limit, memory.stated(role.memory)));
    let gates = vec![gate.clone()];
    let mut node = Node { config, clock, registry, memory, limits, overrides, supervisor, http, gates };
    let Routes { open, stopping, unready } = (role.wire)(&mut node).await?;
    gate.open(Routes { open: node.http.around(open), stopping: node.http.around(stopping), unready });
    tracing::info!("ready");

    let told = stop_taking_work(node.gates, delay);
    node.supervisor.run(told, grace).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Returns when the process is told to stop, has said so for `delay`, and has answered what it had let in.
async fn stop_taking_work(gates: Vec<Gate>, delay: Duration) {
    wait_for_signal().await;
    gates.iter().for_each(|gate| gate.announce_end("stopping"));
    runtime::sleep(delay).await;
    for in_flight in gates.iter().map(|gate| gate.close("stopping")).collect::<Vec<InFlight>>() {
        in_flight.wait(ANSWER_WITHIN).await;
    }
}

/// How long requests that were let in may take before what they brought is flushed without them. They stay on the log.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One line per service, for `/services`.
fn services(role: Role, gate: Gate) -> Text {
    Arc::new(move || {
        let state = gate.unready().unwrap_or_else(|| "Running".to_string());
        role.services.iter().map(|name| format!("{name} => {state}\n")).collect()
    })
}

/// Returns on SIGTERM and on SIGINT.
async fn wait_for_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; the process stops only by force");
        return std::future::pending().await;
    };
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping");
}
