//! Figures of heads, item by item.

use std::sync::Arc;

use bytes::Bytes;
use model::Matcher;
use wire::{Distinct, HeadStats, HeadStatsRequest, HeadTotals, HistogramStats, LabelStats, SelectBudget};

use super::Malformed;
use super::request::{budget_to_wire, matchers, selector_to_wire};
use crate::generated::firn;
use crate::generated::firn::head_stats_item::What;

pub(crate) fn head_stats_to_wire(request: &HeadStatsRequest) -> firn::HeadStatsRequest {
    firn::HeadStatsRequest {
        selectors: request.selectors.iter().map(|matchers| selector_to_wire(matchers)).collect(),
        active_since_ms: request.active_since_ms,
        names: request.names.clone(),
        top: request.top as u64,
        histograms: request.histograms,
        budget: Some(budget_to_wire(&request.budget)),
    }
}

pub(crate) fn head_stats_request(
    request: firn::HeadStatsRequest,
    budget: Arc<SelectBudget>,
) -> Result<HeadStatsRequest, Malformed> {
    let selectors = request.selectors.iter().map(|selector| matchers(&selector.matchers));
    Ok(HeadStatsRequest {
        selectors: selectors.collect::<Result<Vec<Vec<Matcher>>, Malformed>>()?,
        active_since_ms: request.active_since_ms,
        names: request.names,
        top: usize::try_from(request.top).unwrap_or(usize::MAX),
        histograms: request.histograms,
        budget,
    })
}

/// The figures as items; a label is one, so that none is larger than its values.
pub(crate) fn head_stats_items(stats: HeadStats) -> Vec<firn::HeadStatsItem> {
    let HeadTotals { n_series, n_columns, oldest_ms, newest_ms } = stats.totals;
    let totals = firn::HeadTotals { series: n_series, columns: n_columns, oldest_ms, newest_ms };
    let mut items = vec![What::Totals(totals)];
    items.extend(stats.labels.into_iter().map(|label| What::Label(label_to_wire(label))));
    items.extend(stats.histograms.into_iter().map(|metric| What::Histogram(histogram_to_wire(metric))));
    items.into_iter().map(|what| firn::HeadStatsItem { what: Some(what) }).collect()
}

/// Adds an item to what has come so far.
pub(crate) fn take_head_stats(stats: &mut HeadStats, item: firn::HeadStatsItem) -> Result<(), Malformed> {
    match item.what {
        Some(What::Totals(totals)) => {
            let firn::HeadTotals { series, columns, oldest_ms, newest_ms } = totals;
            stats.totals = HeadTotals { n_series: series, n_columns: columns, oldest_ms, newest_ms };
        }
        Some(What::Label(one)) => stats.labels.push(label(one)?),
        Some(What::Histogram(metric)) => stats.histograms.push(HistogramStats {
            metric: metric.metric,
            n_series: metric.series,
            n_buckets: metric.buckets,
            min_buckets: metric.min_buckets,
            max_buckets: metric.max_buckets,
        }),
        None => return Err(Malformed("an item of a head's figures is empty".to_string())),
    }
    Ok(())
}

fn label_to_wire(label: LabelStats) -> firn::LabelStats {
    let top = |(value, series)| firn::ValueCount { value, series };
    firn::LabelStats {
        name: label.name,
        series: label.n_series,
        bytes: label.n_bytes,
        values: label.values.count(),
        least_hashes: label
            .values
            .least()
            .iter()
            .flat_map(|hash| hash.to_le_bytes())
            .collect::<Vec<u8>>()
            .into(),
        top: label.top.into_iter().map(top).collect(),
    }
}

fn label(label: firn::LabelStats) -> Result<LabelStats, Malformed> {
    let malformed = || Malformed(format!("the values of the label {:?} do not add up", label.name));
    let values = Distinct::from_parts(label.values, hashes(&label.least_hashes)).ok_or_else(malformed)?;
    Ok(LabelStats {
        values,
        n_series: label.series,
        n_bytes: label.bytes,
        top: label.top.into_iter().map(|one| (one.value, one.series)).collect(),
        name: label.name,
    })
}

fn hashes(bytes: &Bytes) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect()
}

fn histogram_to_wire(metric: HistogramStats) -> firn::HistogramStats {
    firn::HistogramStats {
        metric: metric.metric,
        series: metric.n_series,
        buckets: metric.n_buckets,
        min_buckets: metric.min_buckets,
        max_buckets: metric.max_buckets,
    }
}
