use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use runtime::Clock;
use ureq::Agent;

use crate::Metrics;
use crate::body::BodyBuilder;
use crate::fleet::{Fleet, Target};
use crate::process::Process;
use crate::report::Report;

/// What all connections count together.
#[derive(Debug, Default)]
struct Totals {
    samples: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
}

/// One connection and the targets whose samples it carries.
struct Connection<'a> {
    metrics: &'a Metrics,
    fleet: &'a Fleet,
    targets: Vec<&'a Target>,
    agent: Agent,
    body: BodyBuilder,
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
            .map(|connection| scope.spawn(move || connection.run()))
            .collect();
        for connection in connections {
            connection.join().map_err(|_| anyhow::anyhow!("a connection panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let secs = start.elapsed().as_secs_f64();
    let mut report = Report::default();
    describe(&mut report, fleet, &totals, secs);
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
    ) -> Connection<'a> {
        let targets = fleet.targets().iter().skip(index).step_by(metrics.connections).collect();
        Connection {
            metrics,
            fleet,
            targets,
            agent: agent(),
            body: BodyBuilder::default(),
            totals,
            clock,
            start,
        }
    }

    fn run(mut self) -> anyhow::Result<()> {
        for n in 0..self.fleet.n_samples {
            for target in self.targets.clone() {
                self.scrape(target, n)?;
            }
        }
        self.send()
    }

    fn scrape(&mut self, target: &Target, n: usize) -> anyhow::Result<()> {
        let timestamp = self.fleet.timestamp(target, n);
        let late = n >= self.fleet.n_samples / 2;
        for (series, run) in target.runs.iter().enumerate() {
            let replaced = late && !target.later_runs[series].is_empty();
            let run = if replaced { &target.later_runs[series] } else { run };
            self.body.push(run, timestamp, self.fleet.value(target, series, n));
            if self.body.len() >= self.metrics.batch {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let n = self.body.len() as u64;
        if n == 0 {
            return Ok(());
        }
        self.wait_for_rate(n);
        let body = self.body.finish(self.metrics.shuffle)?;
        loop {
            let mut request = self
                .agent
                .post(&self.metrics.url)
                .header("Content-Type", "application/x-protobuf")
                .header("Content-Encoding", "snappy")
                .header("X-Prometheus-Remote-Write-Version", "0.1.0");
            if let Some(tenant) = &self.metrics.tenant {
                request = request.header("X-Scope-OrgID", tenant);
            }
            let response = request.send(body).with_context(|| format!("push to {}", self.metrics.url))?;
            match response.status().as_u16() {
                200..300 => break,
                429 | 500..600 => {
                    self.totals.retries.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(100));
                }
                status => {
                    self.totals.refused.fetch_add(n, Ordering::Relaxed);
                    let reason = response.into_body().read_to_string().unwrap_or_default();
                    eprintln!("push answered {status}: {}", reason.trim());
                    break;
                }
            }
        }
        self.totals.samples.fetch_add(n, Ordering::Relaxed);
        self.totals.requests.fetch_add(1, Ordering::Relaxed);
        self.totals.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(())
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

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

fn describe(report: &mut Report, fleet: &Fleet, totals: &Totals, secs: f64) {
    let samples = totals.samples.load(Ordering::Relaxed);
    report.set("series", fleet.n_series());
    report.set("samples", samples);
    report.set("requests", totals.requests.load(Ordering::Relaxed));
    report.set("retries", totals.retries.load(Ordering::Relaxed));
    report.set("samples_in_refused_requests", totals.refused.load(Ordering::Relaxed));
    report.set("bytes_on_the_wire", totals.bytes.load(Ordering::Relaxed));
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
