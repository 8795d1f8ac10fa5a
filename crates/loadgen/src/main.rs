//! `firn-loadgen`: pushes a realistic fleet's metrics over remote write 1.0 and reports what it cost the server.
//!
//! On the path: before everything, in the place of a Prometheus or a vmagent. It works against any receiver of
//! remote write, so that systems can be compared back to back.
//!
//! Always true:
//! - the same arguments send the same series and the same values;
//! - a series' samples travel over one connection, in order.

mod body;
mod fleet;
mod process;
mod recording;
mod report;
mod send;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Pushes load and reports what it cost the server.
#[derive(Debug, Parser)]
#[command(name = "firn-loadgen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Metrics over remote write 1.0.
    Metrics(Metrics),
}

/// A fleet, its samples and where they go.
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// Where to push.
    #[arg(long, default_value = "http://127.0.0.1:9009/api/v1/push")]
    url: String,
    /// The shape of the fleet.
    #[arg(long, value_enum, default_value = "std")]
    workload: Workload,
    /// A recording of a node_exporter (zstd; `#TS <ms>` before each scrape); without it values are synthetic.
    #[arg(long)]
    recording: Option<PathBuf>,
    /// Targets, instead of the workload's own number.
    #[arg(long)]
    targets: Option<usize>,
    /// Samples of each series, instead of the workload's own number.
    #[arg(long)]
    samples: Option<usize>,
    /// Seconds between two samples of a series.
    #[arg(long, default_value_t = 15)]
    interval_secs: i64,
    /// Unix time in seconds of the newest sample; now if not given.
    #[arg(long)]
    end: Option<i64>,
    /// Connections; each carries its own targets.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Most samples in one request.
    #[arg(long, default_value_t = 2000)]
    batch: usize,
    /// Shuffle the series within each request.
    #[arg(long)]
    shuffle: bool,
    /// Replace this share of each target's series by new ones after half of the samples.
    #[arg(long, default_value_t = 0.0)]
    churn: f64,
    /// Samples a second over all connections; as fast as accepted if not given.
    #[arg(long)]
    rate: Option<f64>,
    /// Process id of the server, to report its CPU and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// A POST to this address makes the server flush; its CPU is reported again afterwards.
    #[arg(long)]
    flush_url: Option<String>,
    /// The server's `/api/v1/query`, to count what has become queryable.
    #[arg(long)]
    query_url: Option<String>,
    /// Value of `X-Scope-OrgID`.
    #[arg(long)]
    tenant: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// The shapes of fleets in which figures are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// 80 node_exporters and 12 HTTP services, 50 k series, 240 samples each.
    Std,
    /// 498 k new series, 10 samples each.
    Card,
    /// 3.9 k series over 24 hours.
    Long,
}

fn main() -> ExitCode {
    let Command::Metrics(metrics) = Cli::parse().command;
    match run(&metrics) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("firn-loadgen: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(metrics: &Metrics) -> anyhow::Result<()> {
    let clock = runtime::Clock::system();
    let fleet = fleet::Fleet::new(metrics, clock.now_ms())?;
    let report = send::run(metrics, &fleet, &clock)?;
    report.print(metrics.json);
    Ok(())
}
