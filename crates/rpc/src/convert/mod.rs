//! Our nouns as messages and back. What comes in is checked here, once.

mod head_stats;
mod request;
mod result;
mod series;
mod standing;

use model::{ExemplarPoint, ExemplarSeries, Labels, Metadata, MetricType};

pub(crate) use head_stats::{head_stats_items, head_stats_request, head_stats_to_wire, take_head_stats};
pub(crate) use request::{
    budget_of, labels_request, labels_to_wire, metadata_request, metadata_to_wire, query_request,
    query_to_wire, raw_request, raw_to_wire, select_request, select_to_wire,
};
pub(crate) use result::{Assembler, Outcome, disassemble, select_stats, select_stats_to_wire};
pub(crate) use series::{SeriesIn, SeriesOut};
pub(crate) use standing::{
    fingerprint, fingerprint_to_wire, fingerprints_request, fingerprints_to_wire, standing, standing_to_wire,
};

use crate::generated::firn;

/// Bytes of a message after which the next one begins.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// What came makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

impl From<wire::bytes::BytesError> for Malformed {
    fn from(error: wire::bytes::BytesError) -> Malformed {
        Malformed(error.to_string())
    }
}

/// Labels of a run that is canonical.
pub(crate) fn labels(run: &[u8]) -> Result<Labels, Malformed> {
    Labels::from_run(run).map_err(|e| Malformed(e.to_string()))
}

pub(crate) fn exemplars_to_wire(series: ExemplarSeries) -> firn::ExemplarSeries {
    let exemplar = |point: ExemplarPoint| firn::Exemplar {
        timestamp_ms: point.timestamp,
        value_bits: point.value.to_bits(),
        labels: run(&point.labels),
    };
    firn::ExemplarSeries {
        labels: run(&series.labels),
        exemplars: series.exemplars.into_iter().map(exemplar).collect(),
    }
}

pub(crate) fn exemplars(series: firn::ExemplarSeries) -> Result<ExemplarSeries, Malformed> {
    let mut exemplars = Vec::with_capacity(series.exemplars.len());
    for point in series.exemplars {
        let firn::Exemplar { timestamp_ms, value_bits, labels: own } = point;
        let value = f64::from_bits(value_bits);
        exemplars.push(ExemplarPoint { timestamp: timestamp_ms, value, labels: labels(&own)? });
    }
    Ok(ExemplarSeries { labels: labels(&series.labels)?, exemplars })
}

pub(crate) fn family_to_wire(family: Metadata) -> firn::Metadata {
    let metric_type = family.metric_type as u32;
    firn::Metadata { family: family.family, metric_type, unit: family.unit, help: family.help }
}

pub(crate) fn family(family: firn::Metadata) -> Result<Metadata, Malformed> {
    let types = [
        MetricType::Unknown,
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
    ];
    let known = types.into_iter().find(|known| *known as u32 == family.metric_type);
    let unknown = || Malformed(format!("unknown type {} of a metric family", family.metric_type));
    let metric_type = known.ok_or_else(unknown)?;
    Ok(Metadata { family: family.family, metric_type, unit: family.unit, help: family.help })
}

/// The run as a field of a message.
pub(crate) fn run(labels: &Labels) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(labels.run())
}
