use std::collections::BTreeMap;

use block::{BlockSummary, Day, schema};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::action::Add;

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
    /// The add as it stands in the log, for checkpoints and swaps.
    pub(crate) add: Add,
}

/// What the log says about the rows of a file. What is not said prunes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileStats {
    /// Rows.
    pub n_rows: Option<u64>,
    /// First timestamp.
    pub min_time: Option<i64>,
    /// Last timestamp.
    pub max_time: Option<i64>,
    /// First metric name.
    pub min_metric: Option<String>,
    /// Last metric name.
    pub max_metric: Option<String>,
}

impl FileEntry {
    /// A tag that the writer left.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.add.tags.as_ref()?.get(name)?.as_deref()
    }

    pub(crate) fn of(add: Add) -> FileEntry {
        let day = add.partition_values.get("day").and_then(|day| Day::parse(day.as_deref()?));
        FileEntry {
            path: decode_path(&add.path),
            day,
            size: u64::try_from(add.size).unwrap_or(0),
            modification_time: add.modification_time,
            stats: add.stats.as_deref().map(FileStats::parse).unwrap_or_default(),
            add,
        }
    }
}

impl FileStats {
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
            min_time: Option<i64>,
            max_time: Option<i64>,
            metric: Option<String>,
        }
        let raw: Raw = serde_json::from_str(text).unwrap_or_default();
        FileStats {
            n_rows: raw.num_records,
            min_time: raw.min_values.min_time,
            max_time: raw.max_values.max_time,
            min_metric: raw.min_values.metric,
            max_metric: raw.max_values.metric,
        }
    }
}

/// The add of a file of the table `metrics`.
pub(crate) fn metrics_add(
    file: &NewFile,
    size: usize,
    modification_time: i64,
    data_change: bool,
    summary: &BlockSummary,
) -> Add {
    let shards: Vec<String> = summary.shards.iter().map(u32::to_string).collect();
    let tags = [
        ("firn.format", schema::FORMAT.to_string()),
        ("firn.block", summary.block.to_string()),
        ("firn.series", summary.n_series_rows.to_string()),
        ("firn.samples", summary.n_samples.to_string()),
        ("firn.shards", shards.join(",")),
    ];
    Add {
        path: file.path.clone(),
        partition_values: BTreeMap::from([("day".to_string(), Some(file.day.to_string()))]),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        modification_time,
        data_change,
        stats: Some(stats_json(summary).to_string()),
        tags: Some(tags.map(|(name, value)| (name.to_string(), Some(value))).into()),
        deletion_vector: None,
    }
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
}
