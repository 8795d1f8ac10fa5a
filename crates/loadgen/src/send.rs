use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use runtime::Clock;
use ureq::Agent;

use crate::encode::{Encoder, Extras};
use crate::fleet::{Entry, Fleet, Target};
use crate::process::Process;
use crate::recording::Value;
use crate::report::Report;
use crate::transport::{Accepted, Outcome, Packer, Transport};
use crate::{Compression, Metrics, Protocol};

/// Metadata of requests of their own go out again after so many scrapes: every five minutes at the usual interval.
const SCRAPES_BETWEEN_METADATA: usize = 20;

/// Ten seconds.
const ATTEMPTS_BETWEEN_COMPLAINTS: u64 = 100;

/// What all connections count together.
#[derive(Debug, Default)]
struct Totals {
    samples: AtomicU64,
    histograms: AtomicU64,
    exemplars: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
    rejected: AtomicU64,
    /// By the headers of remote write 2.0: samples, histograms, exemplars.
    written: [AtomicU64; 3],
    /// Requests that were accepted without these headers.
    without_written: AtomicU64,
    bytes: AtomicU64,
}

/// One connection and the targets whose samples it carries.
struct Connection<'a> {
    metrics: &'a Metrics,
    fleet: &'a Fleet,
    targets: Vec<&'a Target>,
    urls: Vec<String>,
    next_url: usize,
    compression: Compression,
    transport: Transport,
    encoder: Encoder,
    packer: Packer,
    body: Vec<u8>,
    entries: Vec<Entry<'a>>,
    /// Samples in `entries`.
    n: u64,
    chance: u64,
    totals: &'a Totals,
    clock: &'a Clock,
    start: Instant,
}

/// Sends everything and reports.
pub(crate) fn run(metrics: &Metrics, fleet: &Fleet, clock: &Clock) -> anyhow::Result<Report> {
    let totals = Totals::default();
    let process = metrics.pid.map(Process::new);
    let cpu_before = process.map(|p| p.cpu_secs()).transpose()?;
    let start = clock.instant();
    thread::scope(|scope| {
        let connections: Vec<_> = (0..metrics.connections)
            .map(|c| Connection::new(c, metrics, fleet, &totals, clock, start))
            .map(|connection| scope.spawn(move || connection?.run()))
            .collect();
        for connection in connections {
            connection.join().map_err(|_| anyhow::anyhow!("a connection panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let secs = start.elapsed().as_secs_f64();
    let mut report = Report::default();
    describe(&mut report, metrics, fleet, &totals, secs);
    if let (Some(process), Some(before)) = (process, cpu_before) {
        report_cost(&mut report, metrics, process, before, &totals)?;
    }
    if let Some(url) = &metrics.query_url {
        report.set("samples_queryable", count_queryable(url, fleet, metrics)?);
    }
    Ok(report)
}

impl<'a> Connection<'a> {
    fn new(
        index: usize,
        metrics: &'a Metrics,
        fleet: &'a Fleet,
        totals: &'a Totals,
        clock: &'a Clock,
        start: Instant,
    ) -> anyhow::Result<Connection<'a>> {
        // Neighbours stay together, so that a connection has few tenants.
        let n = fleet.targets().len();
        let own = n * index / metrics.connections..n * (index + 1) / metrics.connections;
        Ok(Connection {
            metrics,
            fleet,
            targets: fleet.targets()[own].iter().collect(),
            urls: metrics.urls(),
            next_url: index,
            compression: metrics.protocol.compression(metrics.compression)?,
            transport: Transport::new(metrics.protocol)?,
            encoder: Encoder::new(metrics.protocol, fleet),
            packer: Packer::default(),
            body: Vec::new(),
            entries: Vec::new(),
            n: 0,
            chance: index as u64,
            totals,
            clock,
            start,
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        for n in 0..self.fleet.n_samples {
            if self.metrics.metadata && n % SCRAPES_BETWEEN_METADATA == 0 {
                self.send_metadata()?;
            }
            for target in self.targets.clone() {
                self.scrape(target, n)?;
            }
        }
        self.send()
    }

    fn scrape(&mut self, target: &'a Target, n: usize) -> anyhow::Result<()> {
        if self.entries.first().is_some_and(|first| first.target.tenant != target.tenant) {
            self.send()?;
        }
        for entry in self.fleet.scrape(target, n) {
            self.n += entry.value.n_samples() as u64;
            self.entries.push(entry);
            if self.n >= self.metrics.batch as u64 {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let Some(first) = self.entries.first() else { return Ok(()) };
        let tenant = first.target.tenant.as_deref();
        self.wait_for_rate(self.n);
        if self.metrics.shuffle {
            shuffle(&mut self.entries, &mut self.chance);
        }
        let extras =
            Extras { metadata: self.metrics.metadata, start_timestamps: self.metrics.start_timestamps };
        self.body.clear();
        self.encoder.encode(&mut self.body, self.fleet, &self.entries, extras);
        let refused = self.deliver(tenant)?;
        self.count(refused);
        self.entries.clear();
        self.n = 0;
        Ok(())
    }

    /// To every tenant of this connection.
    fn send_metadata(&mut self) -> anyhow::Result<()> {
        self.body.clear();
        if !self.encoder.encode_metadata(&mut self.body, self.fleet) {
            return Ok(());
        }
        let mut tenants: Vec<Option<&str>> = self.targets.iter().map(|t| t.tenant.as_deref()).collect();
        tenants.dedup();
        for tenant in tenants {
            self.deliver(tenant)?;
        }
        Ok(())
    }

    /// Sends the body until it is accepted or refused; whether it was refused.
    fn deliver(&mut self, tenant: Option<&str>) -> anyhow::Result<bool> {
        let packed = self.packer.pack(&self.body, self.compression)?;
        self.totals.requests.fetch_add(1, Ordering::Relaxed);
        self.totals.bytes.fetch_add(packed.len() as u64, Ordering::Relaxed);
        for attempt in 0_u64.. {
            let url = &self.urls[self.next_url % self.urls.len()];
            self.next_url += 1;
            match self.transport.send(url, tenant, self.compression, packed)? {
                Outcome::Accepted(accepted) => {
                    self.totals.count_accepted(self.metrics.protocol, accepted);
                    return Ok(false);
                }
                Outcome::Busy(reason) => {
                    if attempt % ATTEMPTS_BETWEEN_COMPLAINTS == ATTEMPTS_BETWEEN_COMPLAINTS - 1 {
                        eprintln!("still no success after {} attempts: {reason}", attempt + 1);
                    }
                    self.totals.retries.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(100));
                }
                Outcome::Refused { reason, accepted } => {
                    self.totals.count_accepted(self.metrics.protocol, accepted);
                    eprintln!("push answered {reason}");
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }

    fn count(&self, refused: bool) {
        let add = |to: &AtomicU64, n: u64| to.fetch_add(n, Ordering::Relaxed);
        let histograms = self.entries.iter().filter(|e| matches!(e.value, Value::Native(_))).count() as u64;
        add(&self.totals.samples, self.n);
        add(&self.totals.histograms, histograms);
        add(&self.totals.exemplars, self.entries.iter().filter(|e| e.trace.is_some()).count() as u64);
        if refused {
            add(&self.totals.refused, self.n);
        }
    }

    fn wait_for_rate(&self, n: u64) {
        let Some(rate) = self.metrics.rate else { return };
        let due = (self.totals.samples.load(Ordering::Relaxed) + n) as f64 / rate;
        let ahead = due - (self.clock.instant() - self.start).as_secs_f64();
        if ahead > 0.0 {
            thread::sleep(Duration::from_secs_f64(ahead));
        }
    }
}

impl Totals {
    fn count_accepted(&self, protocol: Protocol, accepted: Accepted) {
        self.rejected.fetch_add(accepted.rejected, Ordering::Relaxed);
        if protocol != Protocol::Rw2 {
            return;
        }
        match accepted.written {
            Some(written) => {
                for (total, n) in self.written.iter().zip(written) {
                    total.fetch_add(n, Ordering::Relaxed);
                }
            }
            None => {
                self.without_written.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Another order, the same in every run.
fn shuffle<T>(items: &mut [T], chance: &mut u64) {
    for i in (1..items.len()).rev() {
        // A linear congruential step (Knuth, MMIX) is chance enough for an order.
        *chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(i, (*chance >> 33) as usize % (i + 1));
    }
}

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

fn describe(report: &mut Report, metrics: &Metrics, fleet: &Fleet, totals: &Totals, secs: f64) {
    let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
    let samples = read(&totals.samples);
    report.set("protocol", format!("{:?}", metrics.protocol).to_lowercase());
    report.set("series", fleet.n_series());
    report.set("samples", samples);
    report.set("of_them_native_histograms", read(&totals.histograms));
    report.set("exemplars", read(&totals.exemplars));
    report.set("requests", read(&totals.requests));
    report.set("retries", read(&totals.retries));
    report.set("samples_in_refused_requests", read(&totals.refused));
    match metrics.protocol {
        Protocol::Rw2 => {
            let [samples, histograms, exemplars] = totals.written.each_ref().map(read);
            report.set("samples_written", samples);
            report.set("histograms_written", histograms);
            report.set("exemplars_written", exemplars);
            report.set("answers_without_written_counts", read(&totals.without_written));
        }
        Protocol::OtlpHttp | Protocol::OtlpGrpc | Protocol::OtlpJson => {
            report.set("data_points_rejected", read(&totals.rejected));
        }
        Protocol::Rw1 | Protocol::Rw1Zstd | Protocol::Text => {}
    }
    report.set("bytes_on_the_wire", read(&totals.bytes));
    report.set_rounded("secs", secs);
    report.set_rounded("samples_per_sec", samples as f64 / secs);
}

fn report_cost(
    report: &mut Report,
    metrics: &Metrics,
    process: Process,
    before: f64,
    totals: &Totals,
) -> anyhow::Result<()> {
    let samples = totals.samples.load(Ordering::Relaxed) as f64;
    let cost = |report: &mut Report, moment: &str| -> anyhow::Result<()> {
        let cpu = process.cpu_secs()? - before;
        let (peak, now) = process.rss()?;
        report.set_rounded(&format!("server_cpu_secs_{moment}"), cpu);
        report.set_rounded(&format!("samples_per_cpu_sec_{moment}"), samples / cpu);
        report.set(&format!("server_rss_bytes_{moment}"), now);
        report.set(&format!("server_rss_peak_bytes_{moment}"), peak);
        Ok(())
    };
    cost(report, "acknowledged")?;
    if let Some(url) = &metrics.flush_url {
        let mut request = agent().post(url);
        if let Some(tenant) = &metrics.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let response = request.send_empty().with_context(|| format!("flush by {url}"))?;
        anyhow::ensure!(response.status().is_success(), "flush answered {}", response.status());
        cost(report, "flushed")?;
    }
    Ok(())
}

/// Counts the samples of the run that a query sees.
fn count_queryable(url: &str, fleet: &Fleet, metrics: &Metrics) -> anyhow::Result<u64> {
    // Targets are scraped up to one interval before the grid.
    let range_secs = (fleet.interval_ms * (fleet.n_samples as i64 + 1)) / 1000;
    let end_ms = fleet.start_ms + fleet.interval_ms * (fleet.n_samples as i64 - 1);
    let query = format!("sum(count_over_time({{job=~\"node|shop\"}}[{range_secs}s]))");
    let mut request =
        agent().get(url).query("query", &query).query("time", format!("{}", end_ms as f64 / 1000.0));
    if let Some(tenant) = &metrics.tenant {
        request = request.header("X-Scope-OrgID", tenant);
    }
    let text = request.call()?.into_body().read_to_string()?;
    let answer: serde_json::Value = serde_json::from_str(&text)?;
    let count = answer.pointer("/data/result/0/value/1").and_then(|v| v.as_str()?.parse::<f64>().ok());
    count.map(|n| n as u64).with_context(|| format!("count by {query}: {text}"))
}
