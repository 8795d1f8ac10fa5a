use model::{Batch, BatchSeries, Exemplar, HistogramSample, Metadata, MetricType, SeriesId, ShardBatch};
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{BytesError, Reader, cells, put_f64s, put_i64s, put_text, put_u32s};
use super::histogram::{put_histogram, take_histogram};

const MAGIC: u32 = u32::from_le_bytes(*b"FIRB");
const VERSION: u16 = 1;
/// Where the checksum's own bytes end and those begin over which it is made.
const CHECKED_FROM: usize = 16;

/// Flag of a part: every series has one float and nothing else, so nobody has to count.
const ONE_FLOAT_EACH: u32 = 1;
/// Flag of a part: floats have start timestamps.
const STARTS: u32 = 2;

/// What a series takes at least: identity and length of its labels.
const MIN_SERIES: usize = 20;

/// Replaces `out` with the whole batch.
pub fn encode_batch(batch: &Batch, out: &mut Vec<u8>) {
    encode(batch, batch.shards.iter(), &batch.metadata, out);
}

/// Replaces `out` with those parts of the batch whose places in [`Batch::shards`] are listed, and with its
/// descriptions of metric families when they are wanted. Labels that the parts do not mention stay behind.
pub fn encode_parts(batch: &Batch, parts: &[usize], with_metadata: bool, out: &mut Vec<u8>) {
    let metadata = if with_metadata { &batch.metadata[..] } else { &[] };
    encode(batch, parts.iter().filter_map(|part| batch.shards.get(*part)), metadata, out);
}

fn encode<'a>(
    batch: &'a Batch,
    parts: impl Iterator<Item = &'a ShardBatch> + Clone,
    metadata: &[Metadata],
    out: &mut Vec<u8>,
) {
    out.clear();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 10]);
    let n_parts = parts.clone().count();
    let labels_len: usize = parts.clone().map(|part| labels_len(batch, part)).sum();
    for number in [n_parts, metadata.len(), labels_len] {
        put_u32(out, number);
    }
    out.reserve(labels_len);
    for part in parts.clone() {
        part.series.iter().for_each(|series| out.extend_from_slice(batch.labels(series)));
        part.exemplars.iter().for_each(|exemplar| out.extend_from_slice(batch.exemplar_labels(exemplar)));
    }
    parts.for_each(|part| put_part(batch, part, out));
    metadata.iter().for_each(|family| put_metadata(family, out));
    let checksum = xxh3_64(&out[CHECKED_FROM..]);
    out[CHECKED_FROM - 8..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
}

fn labels_len(batch: &Batch, part: &ShardBatch) -> usize {
    let of_series: usize = part.series.iter().map(|series| batch.labels(series).len()).sum();
    of_series + part.exemplars.iter().map(|e| batch.exemplar_labels(e).len()).sum::<usize>()
}

fn put_part(batch: &Batch, part: &ShardBatch, out: &mut Vec<u8>) {
    let is_one_float = |s: &BatchSeries| (s.n_floats, s.n_histograms, s.n_exemplars) == (1, 0, 0);
    let one_each = part.series.iter().all(is_one_float);
    let has_starts = part.start_timestamps.len() == part.timestamps.len() && !part.timestamps.is_empty();
    let flags = if one_each { ONE_FLOAT_EACH } else { 0 } | if has_starts { STARTS } else { 0 };
    out.extend_from_slice(&part.shard.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    let n_floats = part.timestamps.len().min(part.values.len());
    for number in [part.series.len(), n_floats, part.histograms.len(), part.exemplars.len()] {
        put_u32(out, number);
    }
    for (cell, series) in cells::<16>(out, part.series.len()).iter_mut().zip(&part.series) {
        *cell = series.id.0.to_le_bytes();
    }
    put_u32s(out, part.series.iter().map(|series| batch.labels(series).len() as u32));
    if !one_each {
        put_u32s(out, part.series.iter().map(|series| series.n_floats));
        put_u32s(out, part.series.iter().map(|series| series.n_histograms));
        put_u32s(out, part.series.iter().map(|series| series.n_exemplars));
    }
    put_i64s(out, &part.timestamps[..n_floats]);
    put_f64s(out, &part.values[..n_floats]);
    if has_starts {
        put_i64s(out, &part.start_timestamps[..n_floats]);
    }
    for sample in &part.histograms {
        put_i64s(out, &[sample.timestamp, sample.start_timestamp]);
        put_histogram(out, &sample.histogram);
    }
    for exemplar in &part.exemplars {
        put_i64s(out, &[exemplar.timestamp]);
        put_f64s(out, &[exemplar.value]);
        put_u32(out, batch.exemplar_labels(exemplar).len());
    }
}

/// Numbers of a batch fit 32 bits: positions in its bytes do.
fn put_u32(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_metadata(family: &Metadata, out: &mut Vec<u8>) {
    out.push(family.metric_type as u8);
    put_text(out, &family.family);
    put_text(out, &family.unit);
    put_text(out, &family.help);
}

/// Reads a batch. Takes no more memory than some eight times the bytes, whatever they say.
pub fn decode_batch(bytes: &[u8]) -> Result<Batch, BytesError> {
    let mut reader = Reader::new(bytes);
    if reader.u32()? != MAGIC {
        return Err(reader.error("these bytes are no batch"));
    }
    if reader.u16()? != VERSION || reader.u16()? != 0 {
        return Err(reader.error("the batch has a version that is unknown here"));
    }
    let checksum = reader.u64()?;
    if xxh3_64(&bytes[CHECKED_FROM..]) != checksum {
        return Err(reader.error("the batch does not have its checksum"));
    }
    decode_checked(reader)
}

fn decode_checked(mut reader: Reader<'_>) -> Result<Batch, BytesError> {
    let (n_parts, n_metadata, labels_len) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let mut batch = Batch { bytes: reader.take(labels_len as usize)?.to_vec(), ..Batch::default() };
    let mut labels = Ranges { next: 0, end: labels_len };
    for _ in 0..n_parts {
        batch.shards.push(take_part(&mut reader, &mut labels)?);
    }
    if labels.next != labels.end {
        return Err(reader.error("labels are left over"));
    }
    for _ in 0..n_metadata {
        batch.metadata.push(take_metadata(&mut reader)?);
    }
    reader.finish()?;
    Ok(batch)
}

fn take_part(reader: &mut Reader<'_>, labels: &mut Ranges) -> Result<ShardBatch, BytesError> {
    let (shard, flags) = (reader.u32()?, reader.u32()?);
    if flags & !(ONE_FLOAT_EACH | STARTS) != 0 {
        return Err(reader.error("unknown flags of a part"));
    }
    let mut count = || reader.u32().map(|n| n as usize);
    let (n_series, n_floats, n_histograms, n_exemplars) = (count()?, count()?, count()?, count()?);
    if n_series > reader.left() / MIN_SERIES {
        return Err(reader.error("more series are announced than bytes are left"));
    }
    let series = take_series(reader, n_series, flags & ONE_FLOAT_EACH != 0, labels)?;
    let sums = series.iter().fold((0u64, 0u64, 0u64), |(floats, histograms, exemplars), one| {
        let (f, h, e) = (one.n_floats, one.n_histograms, one.n_exemplars);
        (floats + u64::from(f), histograms + u64::from(h), exemplars + u64::from(e))
    });
    if sums != (n_floats as u64, n_histograms as u64, n_exemplars as u64) {
        return Err(reader.error("series have another number of samples than their part"));
    }
    let (timestamps, values) = (reader.i64s(n_floats)?, reader.f64s(n_floats)?);
    let start_timestamps = if flags & STARTS == 0 { Vec::new() } else { reader.i64s(n_floats)? };
    let mut histograms = Vec::new();
    for _ in 0..n_histograms {
        let (timestamp, start_timestamp) = (reader.i64()?, reader.i64()?);
        let histogram = Box::new(take_histogram(reader)?);
        histograms.push(HistogramSample { timestamp, start_timestamp, histogram });
    }
    let mut exemplars = Vec::new();
    for _ in 0..n_exemplars {
        let (timestamp, value, len) = (reader.i64()?, reader.f64()?, reader.u32()?);
        exemplars.push(Exemplar { timestamp, value, labels: labels.take(len, reader)? });
    }
    Ok(ShardBatch { shard, series, timestamps, values, start_timestamps, histograms, exemplars })
}

fn take_series(
    reader: &mut Reader<'_>,
    n: usize,
    one_float_each: bool,
    labels: &mut Ranges,
) -> Result<Vec<BatchSeries>, BytesError> {
    let (ids, _) = reader.column(n, 16)?.as_chunks::<16>();
    let lens = reader.u32s(n)?;
    let mut series = Vec::with_capacity(n);
    for (id, len) in ids.iter().zip(lens) {
        let id = SeriesId(u128::from_le_bytes(*id));
        let labels = labels.take(len, reader)?;
        series.push(BatchSeries { id, labels, n_floats: 1, n_histograms: 0, n_exemplars: 0 });
    }
    if !one_float_each {
        let (floats, histograms, exemplars) = (reader.u32s(n)?, reader.u32s(n)?, reader.u32s(n)?);
        for (one, ((f, h), e)) in series.iter_mut().zip(floats.zip(histograms).zip(exemplars)) {
            (one.n_floats, one.n_histograms, one.n_exemplars) = (f, h, e);
        }
    }
    Ok(series)
}

/// Hands out label bytes from the front.
struct Ranges {
    next: u32,
    end: u32,
}

impl Ranges {
    fn take(&mut self, len: u32, reader: &Reader<'_>) -> Result<(u32, u32), BytesError> {
        let to = self.next.checked_add(len).filter(|to| *to <= self.end);
        let to = to.ok_or_else(|| reader.error("labels are missing"))?;
        Ok((std::mem::replace(&mut self.next, to), to))
    }
}

fn take_metadata(reader: &mut Reader<'_>) -> Result<Metadata, BytesError> {
    let metric_type = match reader.u8()? {
        0 => MetricType::Unknown,
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => return Err(reader.error("unknown type of a metric family")),
    };
    let (family, unit, help) = (reader.text()?, reader.text()?, reader.text()?);
    Ok(Metadata { family: family.to_string(), metric_type, unit: unit.to_string(), help: help.to_string() })
}
