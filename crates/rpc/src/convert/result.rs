//! Results of queries, in parts.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use model::{ExemplarSeries, Histogram, Labels, MatrixSeries, Metadata, SampleValue, Value, VectorSample};
use prost::Message as _;
use wire::bytes::{Reader, put_f64s, put_histogram, put_i64s, take_histogram};
use wire::{Fingerprint, HeadStats, Held, QueryResult, QueryStats, Raw, SelectStats, StoredBlock};

use super::series::{SeriesIn, SeriesOut, column, f64s, i64s};
use super::{
    CHUNK_BYTES, Malformed, exemplars, exemplars_to_wire, family, family_to_wire, fingerprint,
    fingerprint_to_wire, head_stats_items, labels, run, take_head_stats,
};
use crate::generated::firn;
use crate::generated::firn::Part;
use crate::generated::firn::query_done::Shape;

/// What a job came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Query(QueryResult),
    Labels(Vec<Labels>),
    Strings(Vec<String>),
    Exemplars(Vec<ExemplarSeries>),
    Metadata(Vec<Metadata>),
    Raw(Raw),
    HeadStats(Box<HeadStats>),
    Fingerprints(Vec<Option<Fingerprint>>),
    Blocks(Vec<StoredBlock>),
}

/// What is still to be sent of an outcome, a part at a time.
pub(crate) enum Outgoing {
    Matrix { series: vec::IntoIter<MatrixSeries>, open: Option<OpenSeries> },
    Vector(vec::IntoIter<VectorSample>),
    Labels(vec::IntoIter<Labels>),
    Strings(vec::IntoIter<String>),
    Exemplars(vec::IntoIter<ExemplarSeries>),
    Metadata(vec::IntoIter<Metadata>),
    Raw(Box<SeriesOut>, Held),
    TooMany { is_sent: bool },
    HeadStats(vec::IntoIter<firn::HeadStatsItem>),
    Fingerprints(vec::IntoIter<Option<Fingerprint>>),
    Blocks(vec::IntoIter<StoredBlock>),
}

/// A series of a matrix of which a part has been sent.
pub(crate) struct OpenSeries {
    labels: Labels,
    floats: vec::IntoIter<(i64, f64)>,
    histograms: vec::IntoIter<(i64, Arc<Histogram>)>,
    continues: bool,
}

/// Takes an outcome apart: what goes in parts, and what the end says.
pub(crate) fn disassemble(outcome: Outcome) -> (Outgoing, Option<firn::QueryDone>) {
    match outcome {
        Outcome::Query(result) => {
            let (outgoing, done) = disassemble_query(result);
            (outgoing, Some(done))
        }
        Outcome::Labels(items) => (Outgoing::Labels(items.into_iter()), None),
        Outcome::Strings(items) => (Outgoing::Strings(items.into_iter()), None),
        Outcome::Exemplars(items) => (Outgoing::Exemplars(items.into_iter()), None),
        Outcome::Metadata(items) => (Outgoing::Metadata(items.into_iter()), None),
        Outcome::Raw(Raw::Series(series, held)) => {
            (Outgoing::Raw(Box::new(SeriesOut::new(series)), held), None)
        }
        Outcome::Fingerprints(items) => (Outgoing::Fingerprints(items.into_iter()), None),
        Outcome::Blocks(items) => (Outgoing::Blocks(items.into_iter()), None),
        Outcome::Raw(Raw::TooMany) => (Outgoing::TooMany { is_sent: false }, None),
        Outcome::HeadStats(stats) => (Outgoing::HeadStats(head_stats_items(*stats).into_iter()), None),
    }
}

fn disassemble_query(result: QueryResult) -> (Outgoing, firn::QueryDone) {
    let QueryResult { value, warnings, infos, stats, held: _ } = result;
    let mut done =
        firn::QueryDone { warnings, infos, stats: Some(stats_to_wire(&stats)), ..Default::default() };
    let nothing = Outgoing::Strings(Vec::new().into_iter());
    let outgoing = match value {
        Value::Scalar { timestamp, value } => {
            (done.timestamp_ms, done.scalar_bits) = (timestamp, value.to_bits());
            done.set_shape(Shape::Scalar);
            nothing
        }
        Value::String { timestamp, value } => {
            (done.timestamp_ms, done.text) = (timestamp, value);
            done.set_shape(Shape::String);
            nothing
        }
        Value::Vector(samples) => {
            done.set_shape(Shape::Vector);
            Outgoing::Vector(samples.into_iter())
        }
        Value::Matrix(series) => {
            done.set_shape(Shape::Matrix);
            Outgoing::Matrix { series: series.into_iter(), open: None }
        }
    };
    (outgoing, done)
}

impl Outgoing {
    /// The next part of the job; `None` when all is sent.
    pub(crate) fn part(&mut self, id: u64) -> Option<Part> {
        let mut part = Part { id, ..Part::default() };
        let mut len = 0;
        while len < CHUNK_BYTES {
            let added = match self {
                Outgoing::Matrix { series, open } => {
                    let next = open.take().or_else(|| series.next().map(OpenSeries::from));
                    next.map(|next| put_series(next, &mut part, open, CHUNK_BYTES - len))
                }
                Outgoing::Vector(samples) => samples.next().map(|sample| put_sample(&sample, &mut part)),
                Outgoing::Labels(items) => items.next().map(|labels| {
                    part.labels.push(run(&labels));
                    labels.run().len()
                }),
                Outgoing::Strings(items) => items.next().map(|item| {
                    let len = item.len();
                    part.strings.push(item);
                    len
                }),
                Outgoing::Exemplars(items) => items.next().map(|series| {
                    let len = 64 + 128 * series.exemplars.len();
                    part.exemplars.push(exemplars_to_wire(series));
                    len
                }),
                Outgoing::Metadata(items) => items.next().map(|family| {
                    let len = family.help.len() + family.unit.len() + family.family.len();
                    part.metadata.push(family_to_wire(family));
                    len
                }),
                Outgoing::TooMany { is_sent } => (!std::mem::replace(is_sent, true)).then(|| {
                    part.too_many_samples = true;
                    0
                }),
                // A chunk is as long as a part.
                Outgoing::Raw(out, _held) => out.chunk().map(|chunk| {
                    (part.timelines, part.samples) = (chunk.timelines, chunk.series);
                    CHUNK_BYTES
                }),
                Outgoing::Fingerprints(items) => items.next().map(|item| {
                    part.fingerprints.push(fingerprint_to_wire(item));
                    32
                }),
                Outgoing::Blocks(items) => items.next().map(|item| {
                    let len = 24 + item.name.len();
                    part.blocks.push(block_to_wire(item));
                    len
                }),
                Outgoing::HeadStats(items) => items.next().map(|item| {
                    let len = item.encoded_len();
                    part.head_stats.push(item);
                    len
                }),
            };
            match added {
                Some(added) => len += added + 8,
                None => break,
            }
        }
        (len > 0).then_some(part)
    }
}

impl From<MatrixSeries> for OpenSeries {
    fn from(series: MatrixSeries) -> OpenSeries {
        OpenSeries {
            labels: series.labels,
            floats: series.floats.into_iter(),
            histograms: series.histograms.into_iter(),
            continues: false,
        }
    }
}

/// Puts as much of a series as there is room for, and the rest back into `open`.
fn put_series(mut next: OpenSeries, part: &mut Part, open: &mut Option<OpenSeries>, room: usize) -> usize {
    let (times, values): (Vec<i64>, Vec<f64>) = next.floats.by_ref().take(room / 16 + 1).unzip();
    let mut histogram_times = Vec::new();
    let mut histograms = Vec::new();
    while 16 * times.len() + histograms.len() < room {
        let Some((timestamp, histogram)) = next.histograms.next() else { break };
        histogram_times.push(timestamp);
        put_histogram(&mut histograms, &histogram);
    }
    let piece = firn::ResultSeries {
        labels: run(&next.labels),
        continues: next.continues,
        float_times: column(|out| put_i64s(out, &times)),
        floats: column(|out| put_f64s(out, &values)),
        histogram_times: column(|out| put_i64s(out, &histogram_times)),
        histograms: Bytes::from(histograms),
    };
    let len = piece.labels.len() + 16 * times.len() + 8 * histogram_times.len() + piece.histograms.len();
    part.series.push(piece);
    if next.floats.len() > 0 || next.histograms.len() > 0 {
        *open = Some(OpenSeries { continues: true, ..next });
    }
    len
}

fn put_sample(sample: &VectorSample, part: &mut Part) -> usize {
    let time = column(|out| put_i64s(out, &[sample.timestamp]));
    let mut series = firn::ResultSeries { labels: run(&sample.labels), ..Default::default() };
    match &sample.value {
        SampleValue::Float(value) => {
            series.float_times = time;
            series.floats = column(|out| put_f64s(out, &[*value]));
        }
        SampleValue::Histogram(histogram) => {
            series.histogram_times = time;
            series.histograms = column(|out| put_histogram(out, histogram));
        }
    }
    let len = series.labels.len() + 16 + series.histograms.len();
    part.series.push(series);
    len
}

/// What has come of an outcome.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    pub(crate) series: Vec<MatrixSeries>,
    pub(crate) labels: Vec<Labels>,
    pub(crate) strings: Vec<String>,
    pub(crate) exemplars: Vec<ExemplarSeries>,
    pub(crate) metadata: Vec<Metadata>,
    pub(crate) raw: SeriesIn,
    pub(crate) has_too_many: bool,
    pub(crate) head_stats: HeadStats,
    pub(crate) fingerprints: Vec<Option<Fingerprint>>,
    pub(crate) blocks: Vec<StoredBlock>,
}

impl Assembler {
    pub(crate) fn take(&mut self, part: Part) -> Result<(), Malformed> {
        for piece in part.series {
            self.take_series(&piece)?;
        }
        for run in &part.labels {
            self.labels.push(labels(run)?);
        }
        self.strings.extend(part.strings);
        for series in part.exemplars {
            self.exemplars.push(exemplars(series)?);
        }
        for one in part.metadata {
            self.metadata.push(family(one)?);
        }
        let samples = firn::SelectResponse {
            timelines: part.timelines,
            series: part.samples,
            ..firn::SelectResponse::default()
        };
        self.raw.take(samples)?;
        self.has_too_many |= part.too_many_samples;
        self.fingerprints.extend(part.fingerprints.iter().map(fingerprint));
        self.blocks.extend(part.blocks.into_iter().map(block));
        for item in part.head_stats {
            take_head_stats(&mut self.head_stats, item)?;
        }
        Ok(())
    }

    fn take_series(&mut self, piece: &firn::ResultSeries) -> Result<(), Malformed> {
        let (times, values) = (i64s(&piece.float_times)?, f64s(&piece.floats)?);
        if times.len() != values.len() {
            return Err(Malformed("a series has more times than floats, or fewer".to_string()));
        }
        let floats = times.into_iter().zip(values);
        let histogram_times = i64s(&piece.histogram_times)?;
        let mut reader = Reader::new(&piece.histograms);
        let mut histograms = Vec::new();
        for timestamp in histogram_times {
            histograms.push((timestamp, Arc::new(take_histogram(&mut reader)?)));
        }
        reader.finish()?;
        if piece.continues {
            let last = self.series.last_mut();
            let last = last.ok_or_else(|| Malformed("a series continues that never began".to_string()))?;
            last.floats.extend(floats);
            last.histograms.extend(histograms);
        } else {
            let labels = labels(&piece.labels)?;
            self.series.push(MatrixSeries { labels, floats: floats.collect(), histograms });
        }
        Ok(())
    }

    /// The series with their samples whose end has come.
    pub(crate) fn raw(self) -> Result<Raw, Malformed> {
        if self.has_too_many {
            return Ok(Raw::TooMany);
        }
        Ok(Raw::Series(self.raw.finish()?, Held::default()))
    }

    /// The result of a query whose end has come.
    pub(crate) fn query(self, done: firn::QueryDone) -> Result<QueryResult, Malformed> {
        let value = match done.shape() {
            Shape::Scalar => {
                Value::Scalar { timestamp: done.timestamp_ms, value: f64::from_bits(done.scalar_bits) }
            }
            Shape::String => Value::String { timestamp: done.timestamp_ms, value: done.text },
            Shape::Vector => Value::Vector(self.series.into_iter().map(sample).collect::<Result<_, _>>()?),
            Shape::Matrix => Value::Matrix(self.series),
        };
        let stats = stats(done.stats.unwrap_or_default())?;
        Ok(QueryResult { value, warnings: done.warnings, infos: done.infos, stats, held: Held::default() })
    }
}

fn sample(series: MatrixSeries) -> Result<VectorSample, Malformed> {
    let MatrixSeries { labels, floats, histograms } = series;
    match (&floats[..], &histograms[..]) {
        ([(timestamp, value)], []) => {
            Ok(VectorSample { labels, timestamp: *timestamp, value: SampleValue::Float(*value) })
        }
        ([], [(timestamp, histogram)]) => {
            let value = SampleValue::Histogram(Arc::clone(histogram));
            Ok(VectorSample { labels, timestamp: *timestamp, value })
        }
        _ => Err(Malformed("a series of a vector does not have one sample".to_string())),
    }
}

fn block_to_wire(block: StoredBlock) -> firn::StoredBlock {
    let StoredBlock { name, min_ms, max_ms, n_bytes, is_merged } = block;
    firn::StoredBlock { name, min_ms, max_ms, bytes: n_bytes, is_merged }
}

fn block(block: firn::StoredBlock) -> StoredBlock {
    let firn::StoredBlock { name, min_ms, max_ms, bytes, is_merged } = block;
    StoredBlock { name, min_ms, max_ms, n_bytes: bytes, is_merged }
}

fn stats_to_wire(stats: &QueryStats) -> firn::QueryStats {
    let per_step = |steps: &[(i64, u64)]| {
        column(|out: &mut Vec<u8>| steps.iter().for_each(|(step, n)| put_i64s(out, &[*step, *n as i64])))
    };
    firn::QueryStats {
        prepare_secs: stats.prepare_secs,
        eval_secs: stats.eval_secs,
        total_samples: stats.total_samples,
        samples_per_step: per_step(&stats.samples_per_step),
        samples_read: stats.samples_read,
        samples_read_per_step: per_step(&stats.samples_read_per_step),
        peak_samples: stats.peak_samples,
        series: stats.n_series,
        queue_secs: stats.queue_secs,
        select: Some(select_stats_to_wire(stats.select)),
    }
}

fn stats(stats: firn::QueryStats) -> Result<QueryStats, Malformed> {
    Ok(QueryStats {
        prepare_secs: stats.prepare_secs,
        eval_secs: stats.eval_secs,
        total_samples: stats.total_samples,
        samples_per_step: per_step(&stats.samples_per_step)?,
        samples_read: stats.samples_read,
        samples_read_per_step: per_step(&stats.samples_read_per_step)?,
        peak_samples: stats.peak_samples,
        n_series: stats.series,
        queue_secs: stats.queue_secs,
        select: select_stats(stats.select.unwrap_or_default()),
    })
}

fn per_step(column: &[u8]) -> Result<Vec<(i64, u64)>, Malformed> {
    let numbers = i64s(column)?;
    let (steps, odd) = numbers.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Malformed("a step without its samples".to_string()));
    }
    Ok(steps.iter().map(|[step, n]| (*step, *n as u64)).collect())
}

pub(crate) fn select_stats_to_wire(stats: SelectStats) -> firn::SelectStats {
    firn::SelectStats { samples: stats.n_samples, requests: stats.n_requests, bytes: stats.n_bytes }
}

pub(crate) fn select_stats(stats: firn::SelectStats) -> SelectStats {
    SelectStats { n_samples: stats.samples, n_requests: stats.requests, n_bytes: stats.bytes }
}
