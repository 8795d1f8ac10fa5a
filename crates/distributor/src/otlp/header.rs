//! What a metric says about itself and all its points.

use model::MetricType;

use crate::proto::{Malformed, Reader};

/// A metric's own fields, before its data are looked at.
#[derive(Default)]
pub(super) struct Header<'a> {
    pub(super) name: &'a [u8],
    pub(super) description: &'a [u8],
    pub(super) unit: &'a [u8],
    /// Field number of the data, and where the first message of them begins; more of the same follow.
    pub(super) data: Option<(u32, Reader<'a>)>,
    pub(super) temporality: u64,
    pub(super) is_monotonic: bool,
}

pub(super) const GAUGE: u32 = 5;
pub(super) const SUM: u32 = 7;
pub(super) const HISTOGRAM: u32 = 9;
pub(super) const EXPONENTIAL: u32 = 10;
pub(super) const SUMMARY: u32 = 11;

pub(super) const DELTA: u64 = 1;
pub(super) const CUMULATIVE: u64 = 2;

pub(super) fn read_header(mut message: Reader<'_>) -> Result<Header<'_>, Malformed> {
    let mut header = Header::default();
    while !message.is_done() {
        let at = message.clone();
        let (number, wire) = message.tag()?;
        match number {
            1 => header.name = message.bytes(wire)?,
            2 => header.description = message.bytes(wire)?,
            3 => header.unit = message.bytes(wire)?,
            GAUGE | SUM | HISTOGRAM | EXPONENTIAL | SUMMARY => {
                // Of two kinds of data the last counts; two messages of one kind are one.
                if header.data.as_ref().is_none_or(|(last, _)| *last != number) {
                    header.data = Some((number, at));
                    (header.temporality, header.is_monotonic) = (0, false);
                }
                read_kind(message.message(wire)?, number, &mut header)?;
            }
            _ => message.skip(number, wire)?,
        }
    }
    Ok(header)
}

fn read_kind(mut data: Reader<'_>, kind: u32, header: &mut Header<'_>) -> Result<(), Malformed> {
    if matches!(kind, GAUGE | SUMMARY) {
        return Ok(());
    }
    while !data.is_done() {
        let (number, wire) = data.tag()?;
        match number {
            2 => header.temporality = data.uint64(wire)?,
            3 if kind == SUM => header.is_monotonic = data.uint64(wire)? != 0,
            _ => data.skip(number, wire)?,
        }
    }
    Ok(())
}

pub(super) fn temporality_message(header: &Header<'_>) -> String {
    let name = String::from_utf8_lossy(header.name);
    if header.temporality == DELTA {
        format!(
            "metric {name:?} has delta temporality; the limit otel_native_delta_ingestion is false: let the sender export totals, or a collector add the differences up (deltatocumulative)"
        )
    } else {
        format!("metric {name:?} does not say whether its points are totals or differences")
    }
}

pub(super) fn metric_type(data: u32, is_delta: bool, is_monotonic: bool) -> MetricType {
    match data {
        GAUGE => MetricType::Gauge,
        SUMMARY => MetricType::Summary,
        _ if is_delta => MetricType::Unknown,
        SUM if is_monotonic => MetricType::Counter,
        SUM => MetricType::Gauge,
        _ => MetricType::Histogram,
    }
}
