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

/// What a series takes at least: identity, length of its labels, what they share.
const MIN_SERIES: usize = 24;
/// Labels that share much with their neighbours grow when they are decoded, but no more than this: garbage must not
/// cost more than some times its length.
const MAX_GROWTH: usize = 16;
/// Where the header says how many bytes of labels there are once they are decoded.
const LABELS_LEN_AT: usize = 24;

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
    let labels_len: usize = parts.clone().map(|part| labels_len(batch, part)).sum();
    write(batch, parts.clone(), metadata, labels_len, true, out);
    if labels_len > out.len().saturating_mul(MAX_GROWTH) {
        write(batch, parts, metadata, labels_len, false, out);
    }
}

/// Writes everything; with `shares`, a label run says only in what it differs from the one before.
fn write<'a>(
    batch: &'a Batch,
    parts: impl Iterator<Item = &'a ShardBatch> + Clone,
    metadata: &[Metadata],
    labels_len: usize,
    shares: bool,
    out: &mut Vec<u8>,
) {
    out.clear();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 10]);
    for number in [parts.clone().count(), metadata.len(), labels_len, 0] {
        put_u32(out, number);
    }
    let from = out.len();
    let mut shared = Vec::with_capacity(parts.clone().map(|part| part.series.len()).sum());
    let mut last: &[u8] = &[];
    for part in parts.clone() {
        for run in part.series.iter().map(|series| batch.labels(series)) {
            let common = if shares { Shared::of(last, run) } else { Shared::default() };
            out.extend_from_slice(&run[usize::from(common.prefix)..run.len() - usize::from(common.suffix)]);
            shared.push(common);
            last = run;
        }
        part.exemplars.iter().for_each(|exemplar| out.extend_from_slice(batch.exemplar_labels(exemplar)));
    }
    let sent = u32::try_from(out.len() - from).unwrap_or(u32::MAX);
    out[from - 4..from].copy_from_slice(&sent.to_le_bytes());
    let mut rest = &shared[..];
    for part in parts {
        let (of_part, others) = rest.split_at(part.series.len());
        put_part(batch, part, of_part, out);
        rest = others;
    }
    metadata.iter().for_each(|family| put_metadata(family, out));
    let checksum = xxh3_64(&out[CHECKED_FROM..]);
    out[CHECKED_FROM - 8..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
}

/// What a label run has in common with the one before it: neighbours are of the same target, mostly.
#[derive(Debug, Clone, Copy, Default)]
struct Shared {
    prefix: u16,
    suffix: u16,
}

impl Shared {
    fn of(last: &[u8], run: &[u8]) -> Shared {
        let most = last.len().min(run.len()).min(usize::from(u16::MAX));
        let prefix = common_prefix(&last[..most], &run[..most]);
        let left = most - prefix;
        let suffix = common_suffix(&last[last.len() - left..], &run[run.len() - left..]);
        Shared { prefix: prefix as u16, suffix: suffix as u16 }
    }
}

/// How many bytes are the same at the front of two runs of equal length; eight are compared at once.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let ((a_eights, a_rest), (b_eights, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (i, (a, b)) in a_eights.iter().zip(b_eights).enumerate() {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return 8 * i + differ.trailing_zeros() as usize / 8;
        }
    }
    8 * a_eights.len() + a_rest.iter().zip(b_rest).take_while(|(a, b)| a == b).count()
}

/// The same at the end.
fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let ((a_rest, a_eights), (b_rest, b_eights)) = (a.as_rchunks::<8>(), b.as_rchunks::<8>());
    for (i, (a, b)) in a_eights.iter().rev().zip(b_eights.iter().rev()).enumerate() {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return 8 * i + differ.leading_zeros() as usize / 8;
        }
    }
    let rest = a_rest.iter().rev().zip(b_rest.iter().rev());
    8 * a_eights.len() + rest.take_while(|(a, b)| a == b).count()
}

fn labels_len(batch: &Batch, part: &ShardBatch) -> usize {
    let of_series: usize = part.series.iter().map(|series| batch.labels(series).len()).sum();
    of_series + part.exemplars.iter().map(|e| batch.exemplar_labels(e).len()).sum::<usize>()
}

/// How many bytes of labels an encoded batch becomes when it is decoded, as it says itself.
pub fn labels_len_of(bytes: &[u8]) -> usize {
    let len = bytes.get(LABELS_LEN_AT..).and_then(|rest| rest.first_chunk::<4>());
    len.map_or(0, |len| u32::from_le_bytes(*len) as usize)
}

fn put_part(batch: &Batch, part: &ShardBatch, shared: &[Shared], out: &mut Vec<u8>) {
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
    for (cell, Shared { prefix, suffix }) in cells::<4>(out, shared.len()).iter_mut().zip(shared) {
        let ([p0, p1], [s0, s1]) = (prefix.to_le_bytes(), suffix.to_le_bytes());
        *cell = [p0, p1, s0, s1];
    }
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

/// Reads a batch. Takes no more memory than some times the bytes, whatever they say.
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
    let whole = CHECKED_FROM + reader.left();
    let (n_parts, n_metadata, labels_len) = (reader.u32()?, reader.u32()?, reader.u32()? as usize);
    let sent_len = reader.u32()? as usize;
    if labels_len > whole.saturating_mul(MAX_GROWTH) {
        return Err(reader.error("more labels are announced than such bytes can hold"));
    }
    let sent = Reader::new(reader.take(sent_len)?);
    let mut labels = Runs { sent, bytes: Vec::with_capacity(labels_len), len: labels_len, last: (0, 0) };
    let mut shards = Vec::new();
    for _ in 0..n_parts {
        shards.push(take_part(&mut reader, &mut labels)?);
    }
    if labels.sent.left() > 0 || labels.bytes.len() != labels_len {
        return Err(reader.error("labels are left over"));
    }
    let mut metadata = Vec::new();
    for _ in 0..n_metadata {
        metadata.push(take_metadata(&mut reader)?);
    }
    reader.finish()?;
    Ok(Batch { bytes: labels.bytes, shards, metadata })
}

fn take_part(reader: &mut Reader<'_>, labels: &mut Runs<'_>) -> Result<ShardBatch, BytesError> {
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
        exemplars.push(Exemplar { timestamp, value, labels: labels.whole(len)? });
    }
    Ok(ShardBatch { shard, series, timestamps, values, start_timestamps, histograms, exemplars })
}

fn take_series(
    reader: &mut Reader<'_>,
    n: usize,
    one_float_each: bool,
    labels: &mut Runs<'_>,
) -> Result<Vec<BatchSeries>, BytesError> {
    let (ids, _) = reader.column(n, 16)?.as_chunks::<16>();
    let lens = reader.u32s(n)?;
    let (shared, _) = reader.column(n, 4)?.as_chunks::<4>();
    let mut series = Vec::with_capacity(n);
    for ((id, len), [p0, p1, s0, s1]) in ids.iter().zip(lens).zip(shared) {
        let id = SeriesId(u128::from_le_bytes(*id));
        let common =
            Shared { prefix: u16::from_le_bytes([*p0, *p1]), suffix: u16::from_le_bytes([*s0, *s1]) };
        let labels = labels.series(len, common)?;
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

/// Label runs, put together again one after the other.
struct Runs<'a> {
    sent: Reader<'a>,
    bytes: Vec<u8>,
    /// How many bytes they are together.
    len: usize,
    /// The run of the series before.
    last: (usize, usize),
}

impl Runs<'_> {
    /// The run of the next series, which has so much in common with the one before.
    fn series(&mut self, len: u32, common: Shared) -> Result<(u32, u32), BytesError> {
        let (len, prefix, suffix) = (len as usize, usize::from(common.prefix), usize::from(common.suffix));
        let (from, to) = self.last;
        if prefix + suffix > len.min(to - from) {
            return Err(self.sent.error("a label run has more in common with the one before than there is"));
        }
        let own = self.sent.take(len - prefix - suffix)?;
        self.check_room(len)?;
        let start = self.bytes.len();
        self.bytes.extend_from_within(from..from + prefix);
        self.bytes.extend_from_slice(own);
        self.bytes.extend_from_within(to - suffix..to);
        self.last = (start, self.bytes.len());
        Ok((start as u32, self.bytes.len() as u32))
    }

    /// A run that stands for itself.
    fn whole(&mut self, len: u32) -> Result<(u32, u32), BytesError> {
        let own = self.sent.take(len as usize)?;
        self.check_room(own.len())?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(own);
        Ok((start as u32, self.bytes.len() as u32))
    }

    fn check_room(&self, len: usize) -> Result<(), BytesError> {
        let fits = len <= self.len - self.bytes.len();
        if fits { Ok(()) } else { Err(self.sent.error("labels are longer than announced")) }
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
