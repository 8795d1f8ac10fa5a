use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

/// What one exporter says: its series with their values at each scrape.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) series: Vec<Recorded>,
}

/// One series, or one classic histogram with all of its series.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// Name and labels, without those of the target.
    pub(crate) labels: Vec<(String, String)>,
    /// A value per scrape.
    pub(crate) values: Values,
}

/// Values by scrape.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    Floats(Vec<f64>),
    /// A classic histogram: a series per bound, one for the sum, one for the count.
    Classic(Arc<[Latencies]>),
    /// The same observations in a native histogram.
    Native(Arc<[Latencies]>),
}

/// Upper bounds of the classic buckets, as `le` has them.
pub(crate) const BOUNDS: [&str; 11] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf"];
/// Series of a classic histogram.
pub(crate) const CLASSIC_SERIES: usize = BOUNDS.len() + 2;

/// A histogram at one scrape.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latencies {
    /// Observations up to each bound; the last is all of them.
    pub(crate) cumulative: [f64; BOUNDS.len()],
    pub(crate) sum: f64,
}

/// The value of a series at one scrape.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Float(f64),
    Classic(&'a Latencies),
    Native(&'a Latencies),
}

impl Values {
    /// The value at the n-th scrape; a recording repeats itself.
    pub(crate) fn at(&self, n: usize) -> Value<'_> {
        match self {
            Values::Floats(values) => Value::Float(values[n % values.len()]),
            Values::Classic(values) => Value::Classic(&values[n % values.len()]),
            Values::Native(values) => Value::Native(&values[n % values.len()]),
        }
    }
}

impl Latencies {
    pub(crate) fn count(&self) -> f64 {
        self.cumulative[BOUNDS.len() - 1]
    }

    /// Observations in each bucket alone.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = u64> + '_ {
        let below = [0.0].into_iter().chain(self.cumulative);
        self.cumulative.iter().zip(below).map(|(upto, below)| (upto - below) as u64)
    }

    /// The values of the series of a classic histogram: buckets, sum, count.
    pub(crate) fn floats(&self) -> impl Iterator<Item = f64> + '_ {
        self.cumulative.iter().copied().chain([self.sum, self.count()])
    }
}

/// Reads a recording: text exposition with a line `#TS <ms>` before each scrape.
pub(crate) fn read(path: &Path) -> anyhow::Result<Recording> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let lines = BufReader::new(zstd::Decoder::new(file)?).lines();
    let mut labels: Vec<Vec<(String, String)>> = Vec::new();
    let mut values: Vec<Vec<f64>> = Vec::new();
    let (mut n_scrapes, mut at) = (0, 0);
    for line in lines {
        let line = line?;
        if line.starts_with("#TS") {
            n_scrapes += 1;
            at = 0;
            continue;
        }
        let Some((key, value)) = line.rsplit_once(' ') else { continue };
        let value: f64 = value.parse().with_context(|| format!("value of {key}"))?;
        // Scrapes list their series in the same order; the first one tells which they are.
        if n_scrapes == 1 {
            labels.push(parse_key(key));
            values.push(Vec::new());
        }
        if let Some(values) = values.get_mut(at) {
            values.push(value);
        }
        at += 1;
    }
    let n = values.iter().map(Vec::len).min().unwrap_or(0);
    anyhow::ensure!(n > 0, "{} holds no scrape", path.display());
    let series = labels.into_iter().zip(values);
    let series = series.map(|(labels, values)| Recorded { labels, values: Values::Floats(values) });
    Ok(Recording { series: series.collect() })
}

fn parse_key(key: &str) -> Vec<(String, String)> {
    let (name, rest) = key.split_once('{').unwrap_or((key, ""));
    let mut labels = vec![("__name__".to_string(), name.to_string())];
    let mut rest = rest.trim_end_matches('}');
    while let Some((name, tail)) = rest.split_once("=\"") {
        let Some((value, tail)) = tail.split_once('"') else { break };
        labels.push((name.trim_start_matches(',').to_string(), value.to_string()));
        rest = tail;
    }
    labels
}
