//! What a request should become, worked out slowly and plainly from the generated messages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use distributor::{DecodeError, Decoded, Decoder, Workspace};
use limits::{Limits, LimitsHandle, PromDuration};
use model::{Batch, BucketSpan, Counts, Histogram, MetricType, ResetHint, Shards, TenantId};
use prost::Message;
use runtime::{Clock, MemoryPart, Reservation};
use wire::RefusalReason;
use wire::generated::prometheus as pb;
use wire::generated::prometheus::histogram::{Count, ZeroCount};
use wire::generated::prometheus2 as pb2;

/// A request after decoding, in a form that compares bit by bit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) series: Vec<SeenSeries>,
    pub(crate) metadata: Vec<(String, MetricType, String, String)>,
    pub(crate) refused_labels: usize,
    pub(crate) refused_histograms: usize,
    pub(crate) refused_times: usize,
    pub(crate) refused_exemplars: usize,
}

#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeenSeries {
    pub(crate) labels: Vec<(String, String)>,
    /// Timestamp, bits of the value, start timestamp.
    pub(crate) floats: Vec<(i64, u64, i64)>,
    /// Timestamp, a rendering with the bits of all numbers, start timestamp.
    pub(crate) histograms: Vec<(i64, String, i64)>,
    pub(crate) exemplars: Vec<SeenExemplar>,
}

/// Timestamp, bits of the value, labels.
pub(crate) type SeenExemplar = (i64, u64, Vec<(String, String)>);

pub(crate) const ONE_SHARD: Shards = Shards { count: 1, spread: 1 };

/// The years 1 to 9999, in milliseconds: what a table's `day` can hold.
const CALENDAR: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// A decoder without a future guard, so that a test may use any timestamp.
pub(crate) fn decoder(shards: Shards) -> Decoder {
    let limits = Limits { creation_grace_period: PromDuration::secs(0), ..Limits::default() };
    Decoder::new(LimitsHandle::fixed(limits), shards, Clock::manual(1_795_251_153_981).0, 1 << 20, 42)
}

/// Decodes a remote write 1.0 message with the decoder under test.
pub(crate) fn decode(decoder: &Decoder, body: &[u8], work: &mut Workspace) -> Result<Seen, DecodeError> {
    decode_with(body, work, |tenant, work, reservation| decoder.remote_write(tenant, work, reservation))
}

/// The same of remote write 2.0.
pub(crate) fn decode2(decoder: &Decoder, body: &[u8], work: &mut Workspace) -> Result<Seen, DecodeError> {
    decode_with(body, work, |tenant, work, reservation| decoder.remote_write2(tenant, work, reservation))
}

fn decode_with(
    body: &[u8],
    work: &mut Workspace,
    decode: impl FnOnce(&TenantId, &mut Workspace, &mut Reservation) -> Result<Decoded, DecodeError>,
) -> Result<Seen, DecodeError> {
    work.reset();
    work.body_mut(body.len()).copy_from_slice(body);
    let mut reservation = MemoryPart::unlimited("test").reserve(0).unwrap();
    let decoded = decode(&TenantId::anonymous(), work, &mut reservation);
    if decoded.is_err() {
        assert_eq!(
            work.batch.shards.len() + work.batch.metadata.len(),
            0,
            "nothing of a malformed body is kept"
        );
    }
    let decoded = decoded?;
    let mut seen = seen(&work.batch);
    for refusal in &decoded.refused.refused {
        assert!(!refusal.message.is_empty());
        match refusal.reason {
            RefusalReason::InvalidLabels => seen.refused_labels += refusal.n_samples,
            RefusalReason::InvalidHistogram => seen.refused_histograms += refusal.n_samples,
            RefusalReason::InvalidExemplar => seen.refused_exemplars += refusal.n_samples,
            RefusalReason::TooOld | RefusalReason::TooFarInFuture => seen.refused_times += refusal.n_samples,
            // It brought nothing that could be seen.
            RefusalReason::EmptySeries => assert_eq!(refusal.n_samples, 0),
            other => panic!("{other:?}"),
        }
    }
    Ok(seen)
}

/// Reads a batch back, checking its shape on the way.
pub(crate) fn seen(batch: &Batch) -> Seen {
    let mut seen = Seen::default();
    for columns in &batch.shards {
        assert!(!columns.series.is_empty());
        assert_eq!(columns.timestamps.len(), columns.values.len());
        let starts = match columns.start_timestamps.as_slice() {
            [] => vec![0; columns.timestamps.len()],
            starts => starts.to_vec(),
        };
        assert_eq!(columns.timestamps.len(), starts.len());
        let mut floats = columns.timestamps.iter().zip(&columns.values).zip(&starts);
        let mut histograms = columns.histograms.iter();
        let mut exemplars = columns.exemplars.iter();
        for series in &columns.series {
            let labels = model::Labels::from_run(batch.labels(series)).expect("the run is canonical");
            assert_eq!(labels.id(), series.id);
            let n = |n: u32| n as usize;
            seen.series.push(SeenSeries {
                labels: owned(labels.iter()),
                floats: floats
                    .by_ref()
                    .take(n(series.n_floats))
                    .map(|((t, v), s)| (*t, v.to_bits(), *s))
                    .collect(),
                histograms: histograms
                    .by_ref()
                    .take(n(series.n_histograms))
                    .map(|sample| (sample.timestamp, render(&sample.histogram), sample.start_timestamp))
                    .collect(),
                exemplars: exemplars
                    .by_ref()
                    .take(n(series.n_exemplars))
                    .map(|e| (e.timestamp, e.value.to_bits(), owned(model::runs(batch.exemplar_labels(e)))))
                    .collect(),
            });
        }
        assert!(floats.next().is_none() && histograms.next().is_none() && exemplars.next().is_none());
    }
    for m in &batch.metadata {
        seen.metadata.push((m.family.clone(), m.metric_type, m.help.clone(), m.unit.clone()));
    }
    seen
}

/// What the message should become.
pub(crate) fn expected(request: &pb::WriteRequest) -> Seen {
    let mut seen = Seen::default();
    for series in &request.timeseries {
        seen.add(series, &Starts::default());
    }
    for m in &request.metadata {
        seen.describe(&m.metric_family_name, m.r#type, &m.help, &m.unit);
    }
    seen
}

/// Start timestamps of a series' floats and histograms; those that are missing are 0.
#[derive(Debug, Default)]
struct Starts {
    floats: Vec<i64>,
    histograms: Vec<i64>,
}

/// What the remote write 2.0 message should become; `None` when a reference leads nowhere.
pub(crate) fn expected2(request: &pb2::Request) -> Option<Seen> {
    let symbols = &request.symbols;
    if symbols.first().is_some_and(|first| !first.is_empty()) {
        return None;
    }
    let text = |symbol: u32| symbols.get(symbol as usize).cloned();
    let labels = |refs: &[u32]| {
        let pairs = refs.chunks(2).map(|pair| {
            let [name, value] = pair else { return None };
            Some(pb::Label { name: text(*name)?, value: text(*value)? })
        });
        pairs.collect::<Option<Vec<pb::Label>>>()
    };
    let mut seen = Seen::default();
    let mut described = BTreeSet::new();
    for series in &request.timeseries {
        let exemplars = series.exemplars.iter().map(|e| {
            Some(pb::Exemplar { labels: labels(&e.labels_refs)?, value: e.value, timestamp: e.timestamp })
        });
        // Field for field the same message but for the start.
        let old = |h: &pb2::Histogram| pb::Histogram::decode(&h.encode_to_vec()[..]).unwrap();
        let in_old_form = pb::TimeSeries {
            labels: labels(&series.labels_refs)?,
            samples: series
                .samples
                .iter()
                .map(|s| pb::Sample { value: s.value, timestamp: s.timestamp })
                .collect(),
            exemplars: exemplars.collect::<Option<Vec<pb::Exemplar>>>()?,
            histograms: series.histograms.iter().map(old).collect(),
        };
        let starts = Starts {
            floats: series.samples.iter().map(|s| s.start_timestamp).collect(),
            histograms: series.histograms.iter().map(|h| h.start_timestamp).collect(),
        };
        seen.refused_exemplars += in_old_form.exemplars.iter().filter(|e| exemplar(e).is_none()).count();
        let is_valid = seen.add(&in_old_form, &starts);
        let Some(m) = &series.metadata else { continue };
        let described_as = (m.r#type, text(m.help_ref), text(m.unit_ref));
        if described_as == (0, Some(String::new()), Some(String::new())) {
            continue;
        }
        let (help, unit) = (described_as.1?, described_as.2?);
        let name = in_old_form.labels.iter().find(|label| label.name == "__name__");
        let Some(name) = name.filter(|_| is_valid) else { continue };
        let family = family(&name.value, m.r#type);
        if described.insert((family.clone(), m.r#type, m.help_ref, m.unit_ref)) {
            seen.describe(&family, m.r#type, &help, &unit);
        }
    }
    Some(seen)
}

fn family(name: &str, metric_type: i32) -> String {
    let suffixes: &[&str] = match metric_type {
        3 => &["_bucket", "_count", "_sum"],
        4 => &["_bucket", "_gcount", "_gsum"],
        5 => &["_count", "_sum"],
        _ => &[],
    };
    let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).filter(|f| !f.is_empty());
    family.unwrap_or(name).to_string()
}

impl Seen {
    /// Adds what a series should become. False when its labels are refused.
    fn add(&mut self, series: &pb::TimeSeries, starts: &Starts) -> bool {
        let start = |starts: &[i64], i: usize, timestamp: i64| {
            let start = starts.get(i).copied().unwrap_or(0);
            if start > 0 && start <= timestamp { start } else { 0 }
        };
        let n_samples = series.samples.len() + series.histograms.len();
        let histograms = series.histograms.iter().enumerate().map(|(i, h)| {
            Some((h.timestamp, render(&histogram(h)?), start(&starts.histograms, i, h.timestamp)))
        });
        let accepted: Vec<(i64, String, i64)> = histograms.flatten().collect();
        let n_invalid = series.histograms.len() - accepted.len();
        self.refused_histograms += n_invalid;
        let Some(labels) = labels(&series.labels) else {
            self.refused_labels += n_samples - n_invalid;
            return false;
        };
        let floats = series.samples.iter().enumerate();
        let mut series = SeenSeries {
            labels,
            floats: floats
                .map(|(i, s)| (s.timestamp, s.value.to_bits(), start(&starts.floats, i, s.timestamp)))
                .collect(),
            histograms: accepted,
            exemplars: series.exemplars.iter().filter_map(exemplar).collect(),
        };
        let n_samples = series.floats.len() + series.histograms.len();
        series.floats.retain(|(timestamp, ..)| CALENDAR.contains(timestamp));
        series.histograms.retain(|(timestamp, ..)| CALENDAR.contains(timestamp));
        self.refused_times += n_samples - series.floats.len() - series.histograms.len();
        if series.floats.len() + series.histograms.len() + series.exemplars.len() > 0 {
            self.series.push(series);
        }
        true
    }

    /// Adds what a description should become.
    fn describe(&mut self, family: &str, metric_type: i32, help: &str, unit: &str) {
        if family.is_empty() || family.len() > 1024 {
            return;
        }
        let metric_type = match metric_type {
            1 => MetricType::Counter,
            2 => MetricType::Gauge,
            3 => MetricType::Histogram,
            4 => MetricType::GaugeHistogram,
            5 => MetricType::Summary,
            6 => MetricType::Info,
            7 => MetricType::StateSet,
            _ => MetricType::Unknown,
        };
        let cut = |text: &str| text[..text.floor_char_boundary(1024.min(text.len()))].to_string();
        self.metadata.push((family.to_string(), metric_type, cut(help), cut(unit)));
    }
}

fn labels(labels: &[pb::Label]) -> Option<Vec<(String, String)>> {
    let labels: Vec<_> = labels.iter().filter(|l| !l.value.is_empty()).collect();
    let map: BTreeMap<_, _> = labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect();
    let is_valid = map.len() == labels.len()
        && map.len() <= 30
        && map.contains_key("__name__")
        && map.iter().all(|(n, v)| !n.is_empty() && n.len() <= 1024 && v.len() <= 2048);
    is_valid.then(|| map.into_iter().collect())
}

fn exemplar(e: &pb::Exemplar) -> Option<SeenExemplar> {
    let labels: Vec<_> = e.labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect();
    let n: usize = labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    (n <= 128).then_some((e.timestamp, e.value.to_bits(), labels))
}

fn histogram(h: &pb::Histogram) -> Option<Histogram> {
    if h.sum.to_bits() == 0x7ff0_0000_0000_0002 {
        return Some(Histogram::stale());
    }
    let spans = |spans: &[pb::BucketSpan]| {
        spans.iter().map(|s| BucketSpan { offset: s.offset, length: s.length }).collect::<Vec<_>>()
    };
    let counts = match h.count {
        Some(Count::CountFloat(count)) => Counts::Float {
            count,
            zero: if let Some(ZeroCount::ZeroCountFloat(zero)) = h.zero_count { zero } else { 0.0 },
            positive: h.positive_counts.clone(),
            negative: h.negative_counts.clone(),
        },
        count => Counts::Int {
            count: if let Some(Count::CountInt(count)) = count { count } else { 0 },
            zero: if let Some(ZeroCount::ZeroCountInt(zero)) = h.zero_count { zero } else { 0 },
            positive: running_sum(&h.positive_deltas)?,
            negative: running_sum(&h.negative_deltas)?,
        },
    };
    let mut histogram = Histogram {
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        sum: h.sum,
        counts,
        positive_spans: spans(&h.positive_spans),
        negative_spans: spans(&h.negative_spans),
        custom_values: h.custom_values.clone(),
        reset_hint: match h.reset_hint {
            1 => ResetHint::Yes,
            2 => ResetHint::No,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        },
    };
    if (9..=52).contains(&histogram.schema) {
        coarsen(&mut histogram)?;
    }
    histogram.validate().ok()?;
    Some(histogram)
}

fn running_sum(deltas: &[i64]) -> Option<Vec<u64>> {
    let mut sum = 0i128;
    deltas
        .iter()
        .map(|delta| {
            sum += i128::from(*delta);
            u64::try_from(sum).ok().filter(|sum| *sum <= i64::MAX as u64)
        })
        .collect()
}

/// To schema 8, by way of a map from bucket index to count.
fn coarsen(h: &mut Histogram) -> Option<()> {
    let shift = h.schema - 8;
    let (p, n) = (&mut h.positive_spans, &mut h.negative_spans);
    match &mut h.counts {
        Counts::Int { positive, negative, .. } => {
            coarsen_side(p, positive, shift, |a, b| a + b)?;
            coarsen_side(n, negative, shift, |a, b| a + b)?;
        }
        Counts::Float { positive, negative, .. } => {
            coarsen_side(p, positive, shift, |a, b| a + b)?;
            coarsen_side(n, negative, shift, |a, b| a + b)?;
        }
    }
    h.schema = 8;
    Some(())
}

fn coarsen_side<T: Copy>(
    spans: &mut Vec<BucketSpan>,
    buckets: &mut Vec<T>,
    shift: i32,
    add: impl Fn(T, T) -> T,
) -> Option<()> {
    let announced: usize = spans.iter().map(|s| s.length as usize).sum();
    if announced != buckets.len() || spans.iter().skip(1).any(|s| s.offset < 0) {
        return None;
    }
    let mut map: BTreeMap<i128, T> = BTreeMap::new();
    let (mut index, mut at) = (0i128, 0);
    for span in spans.iter() {
        index += i128::from(span.offset);
        for _ in 0..span.length {
            // The upper bound of bucket i is 2^(i · 2^−schema): round up to the next coarser bound.
            let width = 1i128 << shift;
            let target = (index + width - 1).div_euclid(width);
            let count = buckets[at];
            map.entry(target).and_modify(|sum| *sum = add(*sum, count)).or_insert(count);
            (index, at) = (index + 1, at + 1);
        }
    }
    spans.clear();
    buckets.clear();
    let mut end = 0i128;
    for (target, count) in map {
        match spans.last_mut() {
            Some(span) if target == end => span.length += 1,
            _ => spans.push(BucketSpan { offset: i32::try_from(target - end).ok()?, length: 1 }),
        }
        buckets.push(count);
        end = target + 1;
    }
    Some(())
}

pub(crate) fn render(h: &Histogram) -> String {
    let bits = |values: &[f64]| values.iter().map(|v| format!("{:x}", v.to_bits())).collect::<Vec<_>>();
    let counts = match &h.counts {
        Counts::Float { count, zero, positive, negative } => {
            format!("float {:?} {:?} {:?}", bits(&[*count, *zero]), bits(positive), bits(negative))
        }
        int => format!("{int:?}"),
    };
    let Histogram { schema, positive_spans, negative_spans, reset_hint, .. } = h;
    let numbers = bits(&[h.zero_threshold, h.sum]);
    let custom = bits(&h.custom_values);
    format!("{schema} {numbers:?} {counts} {positive_spans:?} {negative_spans:?} {custom:?} {reset_hint:?}")
}

pub(crate) fn owned<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    pairs.map(|(n, v)| (n.to_string(), v.to_string())).collect()
}
