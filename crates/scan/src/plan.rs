//! What need not be read: decisions over statistics, without I/O.

use std::ops::Range;
use std::sync::Arc;

use bucket::{FileEntry, Snapshot};
use model::{Metrics, TimeRange};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

/// The files that may hold samples of the range, and one of the metrics if those are known.
pub(crate) fn files(snapshot: &Snapshot, range: TimeRange, metrics: &Metrics<'_>) -> Vec<Arc<FileEntry>> {
    let may_matter = |file: &&Arc<FileEntry>| file.stats.may_hold(range, metrics);
    snapshot.files().filter(may_matter).cloned().collect()
}

/// Whether a row group may hold rows of the range and of one of the metrics. `columns` are the indexes of `min_time`,
/// `max_time` and `metric`.
pub(crate) fn row_group(
    group: &RowGroupMetaData,
    (min_time, max_time, metric): (usize, usize, usize),
    range: TimeRange,
    metrics: &Metrics<'_>,
) -> bool {
    let first = group.column(min_time).statistics().and_then(int_min);
    let last = group.column(max_time).statistics().and_then(int_max);
    if first.is_some_and(|first| first > range.end) || last.is_some_and(|last| last < range.start) {
        return false;
    }
    let stats = group.column(metric).statistics();
    metrics
        .may_be_within(stats.and_then(Statistics::min_bytes_opt), stats.and_then(Statistics::max_bytes_opt))
}

/// The rows of a row group whose pages may hold one of the metrics.
pub(crate) fn rows(
    meta: &ParquetMetaData,
    group: usize,
    metric: usize,
    metrics: &Metrics<'_>,
) -> Vec<Range<usize>> {
    let n_rows = usize::try_from(meta.row_group(group).num_rows()).unwrap_or(0);
    let all = std::iter::once(0..n_rows).collect();
    if matches!(metrics, Metrics::Any) {
        return all;
    }
    let index = meta.column_index().and_then(|index| index.get(group)?.get(metric));
    let pages = meta.offset_index().and_then(|index| index.get(group)?.get(metric));
    let (Some(ColumnIndexMetaData::BYTE_ARRAY(index)), Some(pages)) = (index, pages) else { return all };
    let starts: Vec<usize> = pages
        .page_locations()
        .iter()
        .map(|page| usize::try_from(page.first_row_index).unwrap_or(0))
        .collect();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (page, start) in starts.iter().copied().enumerate() {
        let end = starts.get(page + 1).copied().unwrap_or(n_rows);
        let may_matter = metrics.may_be_within(index.min_value(page), index.max_value(page));
        if index.is_null_page(page) || !may_matter {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

fn int_min(stats: &Statistics) -> Option<i64> {
    match stats {
        Statistics::Int64(values) => values.min_opt().copied(),
        _ => None,
    }
}

fn int_max(stats: &Statistics) -> Option<i64> {
    match stats {
        Statistics::Int64(values) => values.max_opt().copied(),
        _ => None,
    }
}
