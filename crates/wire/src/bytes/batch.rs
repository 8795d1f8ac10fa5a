use model::{Batch, BatchSeries, Exemplar, HistogramSample, Metadata, MetricType, SeriesId, ShardBatch};
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{BytesError, Reader, cells, put_f64s, put_i64s, put_text, put_u32s};
use super::histogram::{put_histogram, take_histogram};

const MAGIC: u32 = u32::from_le_bytes(*b"FIRB");
const VERSION: u16 = 2;
/// Where the checksum's own bytes end and those begin over which it is made.
const CHECKED_FROM: usize = 16;

/// Flag of a part: every series has one float and nothing else, so nobody has to count.
const ONE_FLOAT_EACH: u32 = 1;
/// Flag of a part: floats have start timestamps.
const STARTS: u32 = 2;
/// Flag of a part: all its series come by their identity alone.
const NO_LABELS: u32 = 4;
/// Flag of a part: its floats are of one time, which stands there once.
const ONE_TIME: u32 = 8;
const FLAGS: u32 = ONE_FLOAT_EACH | STARTS | NO_LABELS | ONE_TIME;

/// What a series takes at least: its identity.
const MIN_SERIES: usize = 16;
/// Labels that share much with their neighbours grow when they are decoded, but no more than this: garbage must not
/// cost more than some times its length.
const MAX_GROWTH: usize = 16;
/// Where the header says how many bytes of labels there are once they are decoded.
const LABELS_LEN_AT: usize = 24;

/// Replaces `out` with the whole batch and all its labels.
pub fn encode_batch(batch: &Batch, out: &mut Vec<u8>) {
    Sent::new(batch, batch.shards.iter(), &batch.metadata, RunsSent::All).encode(out);
}

/// Replaces `out` with those parts of the batch whose places in [`Batch::shards`] are listed, and with its
/// descriptions of metric families when they are wanted. Labels that the parts do not mention stay behind, and so do
/// those of the series that were met before: their identity stands for them.
pub fn encode_parts(batch: &Batch, parts: &[usize], with_metadata: bool, out: &mut Vec<u8>) {
    let metadata = if with_metadata { &batch.metadata[..] } else { &[] };
    let parts = parts.iter().filter_map(|part| batch.shards.get(*part));
    Sent::new(batch, parts, metadata, RunsSent::Unknown).encode(out);
}

/// Which series' label runs are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunsSent {
    All,
    /// Those of series that were not met before.
    Unknown,
}

/// What is sent of a batch.
struct Sent<'a> {
    batch: &'a Batch,
    parts: Vec<Part<'a>>,
    metadata: &'a [Metadata],
    runs: RunsSent,
}

struct Part<'a> {
    columns: &'a ShardBatch,
    /// Whether a label run is sent for each of its series, though it may be empty.
    has_runs: bool,
}

impl<'a> Sent<'a> {
    fn new(
        batch: &'a Batch,
        parts: impl Iterator<Item = &'a ShardBatch>,
        metadata: &'a [Metadata],
        runs: RunsSent,
    ) -> Sent<'a> {
        let has_runs = |part: &ShardBatch| runs == RunsSent::All || part.series.iter().any(|s| !s.is_known);
        let parts = parts.map(|columns| Part { columns, has_runs: has_runs(columns) }).collect();
        Sent { batch, parts, metadata, runs }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let labels_len: usize = self.parts.iter().map(|part| self.labels_len(part)).sum();
        out.clear();
        // So that the buffer does not move while it grows; label runs share half of their bytes and more, mostly.
        let columns = self
            .parts
            .iter()
            .map(|Part { columns, .. }| 64 + 24 * columns.series.len() + 16 * columns.values.len());
        out.reserve(labels_len / 2 + columns.sum::<usize>());
        self.write(labels_len, true, out);
        if labels_len > out.len().saturating_mul(MAX_GROWTH) {
            self.write(labels_len, false, out);
        }
    }

    /// Writes everything; with `shares`, a label run says only in what it differs from the one before.
    fn write(&self, labels_len: usize, shares: bool, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 10]);
        for number in [self.parts.len(), self.metadata.len(), labels_len, 0] {
            put_u32(out, number);
        }
        let from = out.len();
        let shared = self.write_labels(shares, out);
        let sent = u32::try_from(out.len() - from).unwrap_or(u32::MAX);
        out[from - 4..from].copy_from_slice(&sent.to_le_bytes());
        let mut rest = &shared[..];
        for part in &self.parts {
            let (of_part, others) = rest.split_at(part.with_runs().len());
            self.put_part(part, of_part, out);
            rest = others;
        }
        self.metadata.iter().for_each(|family| put_metadata(family, out));
        let checksum = xxh3_64(&out[CHECKED_FROM..]);
        out[CHECKED_FROM - 8..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Writes what is new in each label run, and says what each has in common with the one before.
    fn write_labels(&self, shares: bool, out: &mut Vec<u8>) -> Vec<Shared> {
        let mut shared = Vec::with_capacity(self.parts.iter().map(|part| part.with_runs().len()).sum());
        let mut last: &[u8] = &[];
        for part in &self.parts {
            for run in part.with_runs().iter().map(|series| self.run(series)) {
                let common = if shares { Shared::of(last, run) } else { Shared::default() };
                out.extend_from_slice(
                    &run[usize::from(common.prefix)..run.len() - usize::from(common.suffix)],
                );
                shared.push(common);
                last = if run.is_empty() { last } else { run };
            }
            let exemplars = part.columns.exemplars.iter();
            exemplars.for_each(|exemplar| out.extend_from_slice(self.batch.exemplar_labels(exemplar)));
        }
        shared
    }

    /// The label run of a series, if it is sent.
    fn run(&self, series: &BatchSeries) -> &'a [u8] {
        let stays = self.runs == RunsSent::Unknown && series.is_known;
        if stays { &[] } else { self.batch.labels(series) }
    }

    fn labels_len(&self, part: &Part<'_>) -> usize {
        let of_series: usize = part.with_runs().iter().map(|series| self.run(series).len()).sum();
        of_series + part.columns.exemplars.iter().map(|e| self.batch.exemplar_labels(e).len()).sum::<usize>()
    }

    fn put_part(&self, part: &Part<'_>, shared: &[Shared], out: &mut Vec<u8>) {
        let Part { columns: part, has_runs } = part;
        let is_one_float = |s: &BatchSeries| (s.n_floats, s.n_histograms, s.n_exemplars) == (1, 0, 0);
        let one_each = part.series.iter().all(is_one_float);
        let has_starts = part.start_timestamps.len() == part.timestamps.len() && !part.timestamps.is_empty();
        let n_floats = part.timestamps.len().min(part.values.len());
        let timestamps = &part.timestamps[..n_floats];
        // The series of one scrape, mostly.
        let times = match timestamps {
            [first, rest @ ..] if rest.iter().all(|one| one == first) => &timestamps[..1],
            _ => timestamps,
        };
        let flags = [
            (one_each, ONE_FLOAT_EACH),
            (has_starts, STARTS),
            (!has_runs, NO_LABELS),
            (times.len() < n_floats, ONE_TIME),
        ];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
        out.extend_from_slice(&part.shard.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        for number in [part.series.len(), n_floats, part.histograms.len(), part.exemplars.len()] {
            put_u32(out, number);
        }
        for (cell, series) in cells::<16>(out, part.series.len()).iter_mut().zip(&part.series) {
            *cell = series.id.0.to_le_bytes();
        }
        if *has_runs {
            put_u32s(out, part.series.iter().map(|series| self.run(series).len() as u32));
            for (cell, Shared { prefix, suffix }) in cells::<4>(out, shared.len()).iter_mut().zip(shared) {
                let ([p0, p1], [s0, s1]) = (prefix.to_le_bytes(), suffix.to_le_bytes());
                *cell = [p0, p1, s0, s1];
            }
        }
        if !one_each {
            put_u32s(out, part.series.iter().map(|series| series.n_floats));
            put_u32s(out, part.series.iter().map(|series| series.n_histograms));
            put_u32s(out, part.series.iter().map(|series| series.n_exemplars));
        }
        put_i64s(out, times);
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
            put_u32(out, self.batch.exemplar_labels(exemplar).len());
        }
    }
}

impl Part<'_> {
    /// The series for which a label run is sent.
    fn with_runs(&self) -> &[BatchSeries] {
        if self.has_runs { &self.columns.series } else { &[] }
    }
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

/// How many bytes of labels an encoded batch becomes when it is decoded, as it says itself.
pub fn labels_len_of(bytes: &[u8]) -> usize {
    let len = bytes.get(LABELS_LEN_AT..).and_then(|rest| rest.first_chunk::<4>());
    len.map_or(0, |len| u32::from_le_bytes(*len) as usize)
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
    if flags & !FLAGS != 0 {
        return Err(reader.error("unknown flags of a part"));
    }
    let mut count = || reader.u32().map(|n| n as usize);
    let (n_series, n_floats, n_histograms, n_exemplars) = (count()?, count()?, count()?, count()?);
    if n_series > reader.left() / MIN_SERIES {
        return Err(reader.error("more series are announced than bytes are left"));
    }
    let series = take_series(reader, n_series, flags, labels)?;
    let sums = series.iter().fold((0u64, 0u64, 0u64), |(floats, histograms, exemplars), one| {
        let (f, h, e) = (one.n_floats, one.n_histograms, one.n_exemplars);
        (floats + u64::from(f), histograms + u64::from(h), exemplars + u64::from(e))
    });
    if sums != (n_floats as u64, n_histograms as u64, n_exemplars as u64) {
        return Err(reader.error("series have another number of samples than their part"));
    }
    let n_times = if flags & ONE_TIME == 0 { n_floats } else { 1 };
    let (mut timestamps, values) = (reader.i64s(n_times)?, reader.f64s(n_floats)?);
    if let [one] = timestamps[..] {
        timestamps.resize(n_floats, one);
    }
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
    flags: u32,
    labels: &mut Runs<'_>,
) -> Result<Vec<BatchSeries>, BytesError> {
    let (ids, _) = reader.column(n, 16)?.as_chunks::<16>();
    let nothing = BatchSeries {
        id: SeriesId(0),
        labels: (0, 0),
        is_known: false,
        n_floats: 1,
        n_histograms: 0,
        n_exemplars: 0,
    };
    let of_id = |id: &[u8; 16]| BatchSeries { id: SeriesId(u128::from_le_bytes(*id)), ..nothing };
    let mut series: Vec<BatchSeries> = ids.iter().map(of_id).collect();
    if flags & NO_LABELS == 0 {
        let lens = reader.u32s(n)?;
        let (shared, _) = reader.column(n, 4)?.as_chunks::<4>();
        for (one, (len, [p0, p1, s0, s1])) in series.iter_mut().zip(lens.zip(shared)) {
            let (prefix, suffix) = (u16::from_le_bytes([*p0, *p1]), u16::from_le_bytes([*s0, *s1]));
            one.labels = labels.series(len, Shared { prefix, suffix })?;
        }
    }
    if flags & ONE_FLOAT_EACH == 0 {
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
        if len == 0 {
            return Ok((0, 0));
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
