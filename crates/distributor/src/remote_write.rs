use model::{EMPTY, Exemplar, Metadata, MetricType};
use wire::RefusalReason;

use crate::canonical::{describe, normalize};
use crate::histogram::{self, Decoded, Starts};
use crate::intake::{DecodeError, Found, Intake, Mark};
use crate::proto::{Malformed, Reader, Wire};

/// A series message of more bytes than this takes its memory before it is read.
pub(crate) const LARGE_SERIES: usize = 4096;
/// The most characters in the labels of an exemplar (OpenMetrics 1.0).
pub(crate) const MAX_EXEMPLAR_CHARS: usize = 128;

/// Reads a `prometheus.WriteRequest`. What is malformed anywhere is an error; the caller drops the batch then.
pub(crate) fn decode(
    body: &[u8],
    intake: &mut Intake<'_>,
    metadata: &mut Vec<Metadata>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(body);
    let (mut is_version_1, mut is_version_2) = (false, false);
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match (number, wire) {
            (1, _) => {
                is_version_1 = true;
                if intake.is_lost() {
                    intake.look_ahead(label_runs(reader.clone()));
                }
                let message = reader.message(wire)?;
                if intake.wants_replica() {
                    intake.find_replica(&collect_labels(message.clone())?)?;
                }
                time_series(message, intake)?;
            }
            (3, _) => {
                is_version_1 = true;
                let message = reader.message(wire)?;
                intake.counts.metadata += 1;
                match read_metadata(message, intake.rules.limits.max_metadata_length as usize)? {
                    Some(description) => metadata.push(description),
                    None => intake.counts.metadata_dropped += 1,
                }
            }
            _ => {
                // Symbols and series of remote write 2.0. To skip them would be to lose them silently.
                is_version_2 |= matches!(number, 4 | 5) && wire == Wire::Len;
                reader.skip(number, wire)?;
            }
        }
    }
    if is_version_2 && !is_version_1 { Err(DecodeError::NotVersion1) } else { Ok(()) }
}

/// The label runs of the series from here on, up to what is not one. What is malformed ends them as well: it is
/// met again in its turn.
fn label_runs(mut reader: Reader<'_>) -> impl Iterator<Item = (usize, &[u8])> {
    let mut next = Some((1, Wire::Len));
    std::iter::from_fn(move || {
        let (1, wire) = next? else { return None };
        let mut message = reader.message(wire).ok()?;
        let at = message.pos();
        skip_labels(&mut message).ok()?;
        next = reader.tag().ok();
        Some((at, message.since(at)))
    })
}

#[inline]
fn time_series(mut reader: Reader<'_>, intake: &mut Intake<'_>) -> Result<(), DecodeError> {
    if reader.rest().len() > LARGE_SERIES {
        intake.expect_bytes(reader.rest().len())?;
    }
    let whole = reader.clone();
    let at = reader.pos();
    let found = match intake.expected(reader.rest(), Some(at)) {
        Some((place, len)) => {
            reader.advance(len);
            Found::Series(place)
        }
        None => {
            skip_labels(&mut reader)?;
            intake.look_up(reader.since(at), Some(at))?
        }
    };
    let raw = reader.since(at);
    let mark = Mark::of(intake.columns(&found));
    if read_samples(&mut reader, intake, &found, raw, Labels::Behind)? {
        intake.finish(&found, mark, raw)?;
        return Ok(());
    }
    // Labels after samples: nobody sends that, but it is valid.
    mark.undo(intake.columns(&found));
    scattered_series(whole, intake)
}

/// Reads a series whose labels do not lie together: collects them first.
#[cold]
fn scattered_series(mut reader: Reader<'_>, intake: &mut Intake<'_>) -> Result<(), DecodeError> {
    let raw = collect_labels(reader.clone())?;
    let found = intake.work_out(&raw, None, None)?;
    let mark = Mark::of(intake.columns(&found));
    read_samples(&mut reader, intake, &found, &raw, Labels::Anywhere)?;
    intake.finish(&found, mark, &raw)?;
    Ok(())
}

/// The labels of a series, wherever they lie in it.
fn collect_labels(mut series: Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let mut raw = Vec::new();
    while !series.is_done() {
        let from = series.pos();
        let (number, wire) = series.tag()?;
        series.skip(number, wire)?;
        if number == 1 {
            raw.extend_from_slice(series.since(from));
        }
    }
    Ok(raw)
}

/// Where labels may still be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Labels {
    Behind,
    Anywhere,
}

#[inline]
fn skip_labels(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    while reader.rest().first() == Some(&0x0A) {
        reader.advance(1);
        reader.message(Wire::Len)?;
    }
    Ok(())
}

/// Reads everything but labels. False when a label turns up that should have been behind.
#[inline]
fn read_samples(
    reader: &mut Reader<'_>,
    intake: &mut Intake<'_>,
    found: &Found,
    raw: &[u8],
    labels: Labels,
) -> Result<bool, DecodeError> {
    let columns = intake.columns(found);
    while let Some((timestamp, bits)) = reader.plain_sample() {
        columns.timestamps.push(timestamp);
        columns.values.push(stored(bits));
    }
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match number {
            1 if labels == Labels::Behind => return Ok(false),
            2 => {
                let (timestamp, value) = read_sample(reader.message(wire)?)?;
                let columns = intake.columns(found);
                columns.timestamps.push(timestamp);
                columns.values.push(value);
            }
            3 => read_exemplar_of(reader.message(wire)?, intake, found)?,
            4 => read_histogram_of(reader.message(wire)?, intake, found, raw)?,
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(true)
}

/// The value that is stored for these bits: one pattern is reserved for empty cells.
#[inline]
pub(crate) fn stored(bits: u64) -> f64 {
    f64::from_bits(if bits == EMPTY { ORDINARY_NAN } else { bits })
}

const ORDINARY_NAN: u64 = 0x7ff8_0000_0000_0001;

fn read_sample(mut reader: Reader<'_>) -> Result<(i64, f64), Malformed> {
    let (mut timestamp, mut value) = (0, 0.0f64);
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match number {
            1 => value = reader.double(wire)?,
            2 => timestamp = reader.int64(wire)?,
            _ => reader.skip(number, wire)?,
        }
    }
    Ok((timestamp, stored(value.to_bits())))
}

fn read_histogram_of(
    reader: Reader<'_>,
    intake: &mut Intake<'_>,
    found: &Found,
    raw: &[u8],
) -> Result<(), DecodeError> {
    // A bucket of one byte becomes eight.
    intake.expect_bytes(reader.rest().len())?;
    let max_buckets = intake.rules.limits.max_native_histogram_buckets;
    let Decoded { timestamp, histogram, .. } = histogram::read(reader, max_buckets, Starts::Unknown)?;
    match histogram {
        Ok(histogram) => intake.columns(found).histograms.push(Decoded::sample(histogram, timestamp, 0)),
        Err(fault) => {
            intake.counts.histograms += 1;
            let message = || format!("{fault}: {} at {timestamp}", describe(raw));
            intake.refused.refuse(RefusalReason::InvalidHistogram, 1, message);
        }
    }
    Ok(())
}

fn read_exemplar_of(mut reader: Reader<'_>, intake: &mut Intake<'_>, found: &Found) -> Result<(), Malformed> {
    intake.counts.exemplars += 1;
    let (mut timestamp, mut value) = (0, 0.0f64);
    let mut raw = Vec::new();
    while !reader.is_done() {
        let from = reader.pos();
        let (number, wire) = reader.tag()?;
        match number {
            1 => {
                reader.message(wire)?;
                raw.extend_from_slice(reader.since(from));
            }
            2 => value = reader.double(wire)?,
            3 => timestamp = reader.int64(wire)?,
            _ => reader.skip(number, wire)?,
        }
    }
    let mut run = Vec::with_capacity(raw.len());
    if !normalize(&raw, &mut run)? || n_chars(&run) > MAX_EXEMPLAR_CHARS {
        intake.counts.exemplars_dropped += 1;
        return Ok(());
    }
    let labels = intake.append(&run);
    intake.columns(found).exemplars.push(Exemplar { timestamp, value, labels });
    Ok(())
}

pub(crate) fn n_chars(run: &[u8]) -> usize {
    model::runs(run).map(|(name, value)| name.chars().count() + value.chars().count()).sum()
}

/// The description of a family, or `None` when it has no name, too long a name, or is not UTF-8.
fn read_metadata(mut reader: Reader<'_>, max_len: usize) -> Result<Option<Metadata>, Malformed> {
    let (mut kind, mut family, mut help, mut unit): (u64, &[u8], &[u8], &[u8]) = (0, &[], &[], &[]);
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match number {
            1 => kind = reader.uint64(wire)?,
            2 => family = reader.bytes(wire)?,
            4 => help = reader.bytes(wire)?,
            5 => unit = reader.bytes(wire)?,
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(description(metric_type(kind as i32), family, help, unit, max_len))
}

pub(crate) fn metric_type(kind: i32) -> MetricType {
    match kind {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

/// A description within its limits; 0 is no limit.
pub(crate) fn description(
    metric_type: MetricType,
    family: &[u8],
    help: &[u8],
    unit: &[u8],
    max_len: usize,
) -> Option<Metadata> {
    let is_over = max_len > 0 && family.len() > max_len;
    if family.is_empty() || is_over {
        return None;
    }
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let cut = |bytes| text(bytes).map(|text| truncated(text, max_len).to_string());
    Some(Metadata { family: text(family)?.to_string(), metric_type, unit: cut(unit)?, help: cut(help)? })
}

fn truncated(text: &str, max_len: usize) -> &str {
    if max_len == 0 || text.len() <= max_len { text } else { &text[..text.floor_char_boundary(max_len)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_help_is_cut_between_characters_and_a_long_name_is_left_out() {
        let cut = description(MetricType::Gauge, b"up", "ääää".as_bytes(), b"", 5).unwrap();
        assert_eq!(cut.help, "ää");
        assert!(description(MetricType::Gauge, b"abcdef", b"", b"", 5).is_none());
        assert!(description(MetricType::Gauge, b"", b"", b"", 5).is_none());
        assert!(description(MetricType::Gauge, b"up", b"\xFF", b"", 5).is_none());
    }
}
