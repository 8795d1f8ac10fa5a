use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

/// One series of an exporter: its labels and its value at each scrape.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// Name and labels, without those of the target.
    pub(crate) labels: Vec<(String, String)>,
    /// A value per scrape.
    pub(crate) values: Vec<f64>,
}

/// Reads a recording: text exposition with a line `#TS <ms>` before each scrape.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Recorded>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let lines = BufReader::new(zstd::Decoder::new(file)?).lines();
    let mut series: Vec<Recorded> = Vec::new();
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
            series.push(Recorded { labels: parse_key(key), values: Vec::new() });
        }
        if let Some(recorded) = series.get_mut(at) {
            recorded.values.push(value);
        }
        at += 1;
    }
    let n = series.iter().map(|s| s.values.len()).min().unwrap_or(0);
    anyhow::ensure!(n > 0, "{} holds no scrape", path.display());
    Ok(series)
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
