//! `firn-loadgen`: pushes a realistic fleet's metrics over any protocol and reports what it cost the server.
//!
//! On the path: before everything, in the place of a Prometheus, a vmagent or a collector. It works against any
//! receiver of its protocols, so that systems can be compared back to back.
//!
//! Always true:
//! - the same arguments send the same series and the same values;
//! - a series' samples travel over one connection, in order.

mod encode;
mod fleet;
mod process;
mod recording;
mod report;
mod send;
mod synthetic;
mod transport;

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
    /// Metrics.
    Metrics(Metrics),
}

/// A fleet, its samples and where they go.
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// How to push.
    #[arg(long, value_enum, default_value = "rw1")]
    protocol: Protocol,
    /// Where to push: the protocol's own place on 127.0.0.1 if not given; several take turns.
    #[arg(long)]
    url: Vec<String>,
    /// How requests are compressed, where the protocol leaves the choice (OTLP: gzip if not given).
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// The shape of the fleet.
    #[arg(long, value_enum, default_value = "std")]
    workload: Workload,
    /// A recording of a node_exporter (zstd; `#TS <ms>` before each scrape); without it values are synthetic.
    #[arg(long)]
    recording: Option<PathBuf>,
    /// node_exporters, instead of the workload's own number of targets.
    #[arg(long)]
    targets: Option<usize>,
    /// HTTP services, instead of the workload's own number; none if only `--targets` is given.
    #[arg(long)]
    services: Option<usize>,
    /// How HTTP services tell their latencies.
    #[arg(long, value_enum, default_value = "classic")]
    histograms: Histograms,
    /// Share of the samples of counters and histograms that have an exemplar. Synthetic node_exporters have neither:
    /// take `--services` or a recording.
    #[arg(long, default_value_t = 0.0)]
    exemplars: f64,
    /// Send types and help texts, too.
    #[arg(long)]
    metadata: bool,
    /// Send since when counters count (remote write 2.0; OTLP always does).
    #[arg(long)]
    start_timestamps: bool,
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
    /// Spread the targets over so many tenants, `<tenant>-000` and on.
    #[arg(long, default_value_t = 1)]
    tenants: usize,
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
    /// The fleet of `std` over 24 hours, 288 million samples.
    Day,
}

/// How metrics travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// Remote write 1.0.
    Rw1,
    /// Remote write 1.0 in vmagent's dialect, with zstd.
    Rw1Zstd,
    /// Remote write 2.0.
    Rw2,
    /// OTLP over HTTP, protobuf.
    OtlpHttp,
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over HTTP, JSON.
    OtlpJson,
    /// Prometheus's text format.
    Text,
}

/// How a request is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    None,
    Snappy,
    Zstd,
    Gzip,
}

/// How latencies are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Histograms {
    /// A series per bucket; in OTLP an explicit histogram.
    Classic,
    /// One native histogram; in OTLP an exponential one.
    Native,
    Both,
}

impl Protocol {
    fn default_url(self) -> &'static str {
        match self {
            Protocol::Rw1 | Protocol::Rw1Zstd | Protocol::Rw2 => "http://127.0.0.1:9009/api/v1/push",
            Protocol::OtlpHttp | Protocol::OtlpJson => "http://127.0.0.1:9009/otlp/v1/metrics",
            Protocol::OtlpGrpc => "http://127.0.0.1:4317",
            Protocol::Text => "http://127.0.0.1:9009/api/v1/import/prometheus",
        }
    }

    /// The protocol's only compression, or the one it uses unless told.
    fn compression(self, wanted: Option<Compression>) -> anyhow::Result<Compression> {
        let only = match self {
            Protocol::Rw1 | Protocol::Rw2 => Compression::Snappy,
            Protocol::Rw1Zstd => Compression::Zstd,
            Protocol::Text => Compression::None,
            Protocol::OtlpHttp | Protocol::OtlpGrpc | Protocol::OtlpJson => {
                let wanted = wanted.unwrap_or(Compression::Gzip);
                anyhow::ensure!(wanted != Compression::Snappy, "OTLP knows no snappy: none, gzip or zstd");
                return Ok(wanted);
            }
        };
        anyhow::ensure!(wanted.is_none_or(|w| w == only), "{self:?} has one compression, {only:?}");
        Ok(only)
    }
}

impl Compression {
    /// As headers spell it.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Snappy => Some("snappy"),
            Compression::Zstd => Some("zstd"),
            Compression::Gzip => Some("gzip"),
        }
    }
}

impl Metrics {
    /// Refuses what a protocol cannot say.
    fn check(&self) -> anyhow::Result<()> {
        self.protocol.compression(self.compression)?;
        let text = self.protocol == Protocol::Text;
        anyhow::ensure!(!text || self.exemplars == 0.0, "the text format is sent without exemplars");
        anyhow::ensure!(
            !text || self.histograms == Histograms::Classic,
            "the text format has no native histograms: --histograms classic"
        );
        anyhow::ensure!(
            !self.start_timestamps || self.protocol == Protocol::Rw2,
            "--start-timestamps is a choice in remote write 2.0 only"
        );
        anyhow::ensure!(self.connections > 0 && self.batch > 0, "no connection, or empty requests");
        anyhow::ensure!((0.0..=1.0).contains(&self.exemplars), "--exemplars is a share, 0 to 1");
        Ok(())
    }

    fn urls(&self) -> Vec<String> {
        match self.url.is_empty() {
            true => vec![self.protocol.default_url().to_string()],
            false => self.url.clone(),
        }
    }
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
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
    metrics.check()?;
    let clock = runtime::Clock::system();
    let fleet = fleet::Fleet::new(metrics, clock.now_ms())?;
    let report = send::run(metrics, &fleet, &clock)?;
    report.print(metrics.json);
    Ok(())
}
