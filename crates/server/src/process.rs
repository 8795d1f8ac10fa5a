use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use runtime::{MemoryPart, ProcessStats};

/// The process as the kernel sees it, under the names that every Prometheus client gives.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = ProcessStats::read();
        let cpu = ConstCounter::new(stats.cpu_secs);
        let start = ConstGauge::new(stats.start_secs);
        let gauges = [
            ("process_resident_memory", "Resident memory size", Some(&Unit::Bytes), stats.resident_bytes),
            ("process_open_fds", "Number of open file descriptors", None, stats.open_fds),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)?;
        }
        let seconds = Some(&Unit::Seconds);
        let help = "Start time of the process since unix epoch";
        start.encode(encoder.encode_descriptor(
            "process_start_time",
            help,
            seconds,
            start.metric_type(),
        )?)?;
        let help = "Total user and system CPU time spent";
        cpu.encode(encoder.encode_descriptor("process_cpu", help, seconds, cpu.metric_type())?)
    }
}

/// A part of the memory budget: what it may take and what it takes.
#[derive(Debug)]
struct Budget {
    limit: u64,
    parts: Vec<MemoryPart>,
}

impl Collector for Budget {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let bytes = Some(&Unit::Bytes);
        let int = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let limit = int(self.limit);
        let help = "The memory limit of the process, 0 for none";
        limit.encode(encoder.encode_descriptor("firn_memory_limit", help, bytes, limit.metric_type())?)?;
        for (name, help, of) in [
            (
                "firn_memory_share",
                "What a use of memory may take, 0 for no limit",
                MemoryPart::limit as fn(&_) -> _,
            ),
            ("firn_memory_used", "What a use of memory takes", MemoryPart::used as fn(&_) -> _),
        ] {
            let kind = int(0).metric_type();
            let mut family = encoder.encode_descriptor(name, help, bytes, kind)?;
            for part in &self.parts {
                let labels = [("part", part.name().trim_start_matches("the ").replace(' ', "_"))];
                int(of(part)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Metrics of the process itself: version, CPU, memory, files.
pub fn process_metrics(version: &'static str) -> Registry {
    let mut registry = Registry::default();
    registry.register("firn_build", "What is running", Info::new([("version", version)]));
    registry.register_collector(Box::new(Process));
    registry
}

/// Metrics of the memory budget.
pub fn memory_metrics(limit: u64, parts: Vec<MemoryPart>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Budget { limit, parts }));
    registry
}
