use std::collections::BTreeMap;
use std::fmt;

use block::{BlockSummary, Day, FileSummary, RowsSummary, schema};
use model::{Metrics, TimeRange};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::action::Add;
use crate::kept::Kept;

/// A file that is about to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Relative to the table's root.
    pub path: String,
    /// Its number, unique in the table for ever.
    pub block: i64,
    /// Its partition.
    pub day: Day,
}

/// A file's place in a run: a sequence of files without a common series, in the order of a block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunTag {
    /// The run's id.
    pub run: String,
    /// The place in it, from 0.
    pub place: u32,
}

impl RunTag {
    pub(crate) const NAME: &str = "firn.run";

    fn parse(text: &str) -> Option<RunTag> {
        let (run, place) = text.rsplit_once('/')?;
        Some(RunTag { run: run.to_string(), place: place.parse().ok()? })
    }
}

impl fmt::Display for RunTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.place)
    }
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct FileEntry {
    /// Relative to the table's root.
    pub path: String,
    /// Its partition, if it has one.
    pub day: Option<Day>,
    /// Bytes.
    pub size: u64,
    /// When it was written, in milliseconds.
    pub modification_time: i64,
    /// What is known of its rows.
    pub stats: FileStats,
    kept: Kept,
}

/// What the log says about the rows of a file. What is not said prunes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileStats {
    /// Rows.
    pub n_rows: Option<u64>,
    /// First timestamp: of a sample, of an exemplar, when a description was seen.
    pub min_time: Option<i64>,
    /// Last timestamp.
    pub max_time: Option<i64>,
    /// First name of a metric, or of a metric family.
    pub min_metric: Option<String>,
    /// Last name.
    pub max_metric: Option<String>,
}

impl FileEntry {
    /// A tag that the writer left.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.kept.tag(name)
    }

    /// The file's place in a run, if it is in one.
    pub fn run(&self) -> Option<RunTag> {
        self.tag(RunTag::NAME).and_then(RunTag::parse)
    }

    pub(crate) fn of(add: Add) -> FileEntry {
        let day = add.partition_values.get("day").and_then(|day| Day::parse(day.as_deref()?));
        let path = decode_path(&add.path);
        FileEntry {
            day,
            size: u64::try_from(add.size).unwrap_or(0),
            modification_time: add.modification_time,
            stats: add.stats.as_deref().map(FileStats::parse).unwrap_or_default(),
            kept: Kept::of(add, &path),
            path,
        }
    }

    /// The memory that it takes, as far as its own bytes go.
    pub fn held_bytes(&self) -> usize {
        let metrics = [&self.stats.min_metric, &self.stats.max_metric];
        let metrics: usize = metrics.into_iter().flatten().map(String::capacity).sum();
        // The reference counts and its place in the snapshot.
        size_of::<FileEntry>() + 32 + self.path.capacity() + metrics + self.kept.held_bytes()
    }

    /// The file's add, for checkpoints and swaps.
    pub(crate) fn add(&self) -> Add {
        self.kept.add(&self.path, self.size, self.modification_time)
    }
}

impl FileStats {
    /// Whether the file may hold samples of the range, and one of the metrics if those are known.
    pub fn may_hold(&self, range: TimeRange, metrics: &Metrics<'_>) -> bool {
        let in_time = self.min_time.is_none_or(|min| min <= range.end)
            && self.max_time.is_none_or(|max| max >= range.start);
        let (lower, upper) = (self.min_metric.as_deref(), self.max_metric.as_deref());
        in_time && metrics.may_be_within(lower.map(str::as_bytes), upper.map(str::as_bytes))
    }

    /// Statistics are a help: what does not parse is not said.
    fn parse(text: &str) -> FileStats {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Raw {
            num_records: Option<u64>,
            min_values: Bounds,
            max_values: Bounds,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Bounds {
            #[serde(alias = "ts", alias = "seen_at")]
            min_time: Option<i64>,
            max_time: Option<i64>,
            #[serde(alias = "family")]
            metric: Option<String>,
        }
        let raw: Raw = serde_json::from_str(text).unwrap_or_default();
        FileStats {
            n_rows: raw.num_records,
            min_time: raw.min_values.min_time,
            // A table of single moments has one column of time.
            max_time: raw.max_values.max_time.or(raw.max_values.min_time),
            min_metric: raw.min_values.metric,
            max_metric: raw.max_values.metric,
        }
    }
}

/// The add of a file.
pub(crate) fn add_of(
    file: &NewFile,
    size: usize,
    modification_time: i64,
    data_change: bool,
    summary: &FileSummary,
) -> Add {
    let (stats, tags) = match summary {
        FileSummary::Metrics(summary) => (stats_json(summary), metrics_tags(summary)),
        FileSummary::Exemplars(summary) => {
            let rows = ("firn.exemplars", summary.n_rows.to_string());
            let shards = ("firn.shards", joined(&summary.shards));
            (rows_stats_json(summary, &block::exemplars::STATS_COLUMNS), vec![rows, shards])
        }
        FileSummary::Metadata(summary) => {
            let rows = ("firn.families", summary.n_rows.to_string());
            (rows_stats_json(summary, &block::metadata::STATS_COLUMNS), vec![rows])
        }
    };
    let common = [("firn.format", schema::FORMAT.to_string()), ("firn.block", file.block.to_string())];
    let tags = common.into_iter().chain(tags).map(|(name, value)| (name.to_string(), Some(value)));
    Add {
        path: file.path.clone(),
        partition_values: BTreeMap::from([("day".to_string(), Some(file.day.to_string()))]),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        modification_time,
        data_change,
        stats: Some(stats.to_string()),
        tags: Some(tags.collect()),
        deletion_vector: None,
    }
}

fn metrics_tags(summary: &BlockSummary) -> Vec<(&'static str, String)> {
    vec![
        ("firn.series", summary.n_series_rows.to_string()),
        ("firn.samples", summary.n_samples.to_string()),
        ("firn.shards", joined(&summary.shards)),
    ]
}

fn joined(shards: &[u32]) -> String {
    shards.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// Statistics over a column of names and one of times.
fn rows_stats_json(summary: &RowsSummary, [name, time]: &[&str; 2]) -> Value {
    let (mut min, mut max) = (json!({}), json!({}));
    min[*time] = json!(summary.times.0);
    max[*time] = json!(summary.times.1);
    if let Some((first, last)) = &summary.names {
        min[*name] = json!(first);
        max[*name] = json!(last);
    }
    let mut nulls = json!({});
    nulls[*name] = json!(summary.n_name_nulls);
    nulls[*time] = json!(0);
    json!({ "numRecords": summary.n_rows, "minValues": min, "maxValues": max, "nullCount": nulls })
}

fn stats_json(summary: &BlockSummary) -> Value {
    let mut min = json!({
        "row_kind": schema::KIND_LABELS,
        "block": summary.block,
        "min_time": summary.min_time,
        "max_time": summary.min_time,
    });
    let mut max = json!({
        "row_kind": schema::KIND_TIMESTAMPS,
        "block": summary.block,
        "min_time": summary.max_time,
        "max_time": summary.max_time,
    });
    if let Some((first, last)) = &summary.metrics {
        min["metric"] = json!(first);
        max["metric"] = json!(last);
    }
    json!({
        "numRecords": summary.n_rows,
        "minValues": min,
        "maxValues": max,
        "nullCount": {
            "row_kind": 0, "block": 0, "metric": summary.n_metric_nulls, "min_time": 0, "max_time": 0,
        },
    })
}

/// Undoes the percent-encoding that the protocol asks of paths.
pub(crate) fn decode_path(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let encoded = (first == b'%').then(|| tail.get(..2)).flatten();
        let decoded = encoded.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once() {
        assert_eq!(decode_path("day=2026-11-21/a%20b%2525.parquet"), "day=2026-11-21/a b%25.parquet");
        assert_eq!(decode_path("%"), "%");
        assert_eq!(decode_path("%zz%4"), "%zz%4");
    }

    #[test]
    fn statistics_that_do_not_parse_say_nothing() {
        assert_eq!(FileStats::parse("{"), FileStats::default());
        assert_eq!(FileStats::parse(r#"{"minValues":{"min_time":"x"}}"#), FileStats::default());
        let stats = FileStats::parse(r#"{"numRecords":3,"minValues":{"min_time":5,"other":[1]}}"#);
        assert_eq!((stats.n_rows, stats.min_time, stats.max_time), (Some(3), Some(5), None));
    }

    #[test]
    fn the_statistics_of_single_moments_prune_as_those_of_rows_with_a_beginning_and_an_end() {
        let summary = RowsSummary {
            block: 1,
            n_rows: 3,
            times: (5, 9),
            names: Some(("a".to_string(), "b".to_string())),
            n_name_nulls: 1,
            shards: vec![0, 3],
        };
        for columns in [block::exemplars::STATS_COLUMNS, block::metadata::STATS_COLUMNS] {
            let stats = FileStats::parse(&rows_stats_json(&summary, &columns).to_string());
            assert_eq!((stats.min_time, stats.max_time, stats.n_rows), (Some(5), Some(9), Some(3)));
            assert_eq!((stats.min_metric.as_deref(), stats.max_metric.as_deref()), (Some("a"), Some("b")));
        }
    }
}
