use std::collections::HashMap;

use crate::encode::Keys;
use crate::recording::{self, BOUNDS, CLASSIC_SERIES, Recorded, Recording, Value, Values};
use crate::{Metrics, Workload, synthetic};

/// Everything that will be sent, as a function of target, series and time.
#[derive(Debug)]
pub(crate) struct Fleet {
    node: Recording,
    http: Recording,
    targets: Vec<Target>,
    families: Vec<Family>,
    /// Every string of a label, by the number that keys of remote write 2.0 have for it.
    pub(crate) symbols: Vec<String>,
    /// Samples of each series.
    pub(crate) n_samples: usize,
    /// Time of the first sample, in milliseconds.
    pub(crate) start_ms: i64,
    /// Milliseconds between two samples.
    pub(crate) interval_ms: i64,
    exemplars: f64,
}

/// All series of one name.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: FamilyKind,
    pub(crate) help: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FamilyKind {
    Gauge,
    Counter,
    Histogram,
}

/// One scraped process.
#[derive(Debug)]
pub(crate) struct Target {
    kind: Kind,
    index: usize,
    pub(crate) series: Vec<Series>,
    /// Series that take the place of the first ones in the second half.
    later: Vec<Series>,
    /// `job` and `instance`.
    pub(crate) own: [String; 2],
    /// The tenant as which it is sent.
    pub(crate) tenant: Option<String>,
    /// Where in the recording the target begins.
    offset: usize,
    /// When in the interval it is scraped.
    phase_ms: i64,
}

/// A series as its protocol writes it.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) family: u32,
    /// Its labels, encoded ([`Keys`]).
    pub(crate) key: Vec<u8>,
    /// Of a classic histogram: the labels of each of its series.
    pub(crate) parts: Vec<Vec<u8>>,
}

/// A sample, or a histogram, on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) target: &'a Target,
    pub(crate) series: &'a Series,
    pub(crate) timestamp: i64,
    /// Since when a counter counts.
    pub(crate) start: i64,
    pub(crate) value: Value<'a>,
    /// The trace of an exemplar.
    pub(crate) trace: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Node,
    Http,
}

impl Fleet {
    /// The fleet of a workload, ending at `metrics.end` or now.
    pub(crate) fn new(metrics: &Metrics, now_ms: i64) -> anyhow::Result<Fleet> {
        let node = match &metrics.recording {
            Some(path) => recording::read(path)?,
            None => synthetic::node(),
        };
        let http = synthetic::http(metrics.histograms);
        let (n_node, n_http, n_samples) = match metrics.workload {
            Workload::Std => (80, 12, 240),
            Workload::Card => (982, 0, 10),
            Workload::Long => (6, 1, 5760),
            Workload::Day => (80, 12, 5760),
        };
        let n_node = metrics.targets.unwrap_or(n_node);
        let n_http = metrics.services.unwrap_or(if metrics.targets.is_some() { 0 } else { n_http });
        let n_samples = metrics.samples.unwrap_or(n_samples);
        let mut maker = Maker { metrics, keys: Keys::new(metrics.protocol), families: Families::default() };
        let target = |i: usize| match i < n_node {
            true => maker.target(Kind::Node, i, &node),
            false => maker.target(Kind::Http, i, &http),
        };
        let mut targets: Vec<Target> = (0..n_node + n_http).map(target).collect();
        // Requests carry one tenant, so the targets of a tenant follow each other.
        targets.sort_by(|a, b| (&a.tenant, a.index).cmp(&(&b.tenant, b.index)));
        let interval_ms = metrics.interval_secs * 1000;
        let end_ms = metrics.end.map_or(now_ms - interval_ms, |secs| secs * 1000);
        let start_ms = end_ms - interval_ms * (n_samples as i64 - 1);
        let (families, symbols) = (maker.families.list, maker.keys.into_symbols());
        let exemplars = metrics.exemplars;
        Ok(Fleet { node, http, targets, families, symbols, n_samples, start_ms, interval_ms, exemplars })
    }

    /// All targets.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What is known of each name.
    pub(crate) fn families(&self) -> &[Family] {
        &self.families
    }

    /// The family of a series.
    pub(crate) fn family(&self, series: &Series) -> &Family {
        &self.families[series.family as usize]
    }

    /// What a target says at its n-th scrape.
    pub(crate) fn scrape<'a>(&'a self, target: &'a Target, n: usize) -> impl Iterator<Item = Entry<'a>> {
        let recording = if target.kind == Kind::Node { &self.node } else { &self.http };
        let timestamp = self.start_ms + self.interval_ms * n as i64 - target.phase_ms;
        let start = self.start_ms - self.interval_ms - target.phase_ms;
        let later = if n >= self.n_samples / 2 { target.later.as_slice() } else { &[] };
        recording.series.iter().enumerate().map(move |(i, recorded)| {
            let series = later.get(i).unwrap_or(&target.series[i]);
            let value = recorded.values.at(target.offset + n);
            let trace = self.trace(series, &value, target.index << 40 | i << 20 | n);
            Entry { target, series, timestamp, start, value, trace }
        })
    }

    /// A share of the counters and histograms has an exemplar, which ones never changes.
    fn trace(&self, series: &Series, value: &Value<'_>, which: usize) -> Option<u64> {
        if self.exemplars <= 0.0 {
            return None;
        }
        let counts = !matches!(value, Value::Float(_)) || self.family(series).kind == FamilyKind::Counter;
        let hash = mix(which as u64);
        (counts && ((hash >> 11) as f64) < self.exemplars * (1u64 << 53) as f64).then_some(hash)
    }

    /// Series over the whole run.
    pub(crate) fn n_series(&self) -> usize {
        let n = |series: &[Series]| series.iter().map(|s| s.parts.len().max(1)).sum::<usize>();
        self.targets.iter().map(|t| n(&t.series) + n(&t.later)).sum()
    }
}

impl Value<'_> {
    /// Samples that it is in the store.
    pub(crate) fn n_samples(&self) -> usize {
        if matches!(self, Value::Classic(_)) { CLASSIC_SERIES } else { 1 }
    }
}

/// What targets are made with.
struct Maker<'a> {
    metrics: &'a Metrics,
    keys: Keys,
    families: Families,
}

impl Maker<'_> {
    fn target(&mut self, kind: Kind, index: usize, recording: &Recording) -> Target {
        let job = if kind == Kind::Node { "node" } else { "shop" };
        let own = [job.to_string(), format!("host-{index:04}.example:9100")];
        let n_replaced = (self.metrics.churn * recording.series.len() as f64).ceil() as usize;
        let series = recording.series.iter().map(|s| self.series(s, &own, "")).collect();
        let replaced = recording.series.iter().take(n_replaced);
        let later = replaced.map(|s| self.series(s, &own, "2")).collect();
        let tenant = match (&self.metrics.tenant, self.metrics.tenants) {
            (tenant, 0..=1) => tenant.clone(),
            (tenant, n) => Some(format!("{}-{:03}", tenant.as_deref().unwrap_or("tenant"), index % n)),
        };
        Target {
            kind,
            index,
            series,
            later,
            own,
            tenant,
            offset: (index * 37) % 1000,
            phase_ms: (index as i64 * 7919) % (self.metrics.interval_secs * 1000),
        }
    }

    fn series(&mut self, recorded: &Recorded, own: &[String; 2], generation: &str) -> Series {
        let mut labels: Vec<(&str, &str)> =
            recorded.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        labels.extend([("job", own[0].as_str()), ("instance", &own[1])]);
        if !generation.is_empty() {
            labels.push(("generation", generation));
        }
        let name = labels[0].1.to_string();
        let family = self.families.of(&name, &recorded.values);
        let (key, parts) = match recorded.values {
            Values::Floats(_) => (self.keys.float(&labels), Vec::new()),
            Values::Native(_) => (self.keys.native(&labels), Vec::new()),
            Values::Classic(_) => (self.keys.classic(&labels), self.parts(&name, &labels)),
        };
        Series { family, key, parts }
    }

    fn parts(&mut self, name: &str, labels: &[(&str, &str)]) -> Vec<Vec<u8>> {
        let rest = &labels[1..];
        let mut part = |suffix: &str, le: Option<&str>| {
            let name = format!("{name}_{suffix}");
            let own = [("__name__", name.as_str())].into_iter().chain(le.map(|le| ("le", le)));
            let labels: Vec<(&str, &str)> = own.chain(rest.iter().copied()).collect();
            self.keys.float(&labels)
        };
        let mut parts: Vec<Vec<u8>> = BOUNDS.iter().map(|le| part("bucket", Some(le))).collect();
        parts.extend([part("sum", None), part("count", None)]);
        parts
    }
}

#[derive(Debug, Default)]
struct Families {
    list: Vec<Family>,
    by_name: HashMap<String, u32>,
}

impl Families {
    fn of(&mut self, name: &str, values: &Values) -> u32 {
        if let Some(found) = self.by_name.get(name) {
            return *found;
        }
        let kind = match values {
            Values::Floats(_) if name.ends_with("_total") => FamilyKind::Counter,
            Values::Floats(_) => FamilyKind::Gauge,
            Values::Classic(_) | Values::Native(_) => FamilyKind::Histogram,
        };
        let help = format!("What {} says, of a fleet that does not exist.", name.replace('_', " "));
        let index = self.list.len() as u32;
        self.list.push(Family { name: name.to_string(), kind, help });
        self.by_name.insert(name.to_string(), index);
        index
    }
}

/// The finaliser of splitmix64 (Vigna 2015).
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
