//! What the ingester writes into the log, byte for byte as `docs/format/wal.md` draws it.
//!
//! A samples record is made from the columns of one decision about one shard and decodes into the same columns.
//! No record depends on another but through the definitions of series refs.

mod bytes;
mod exemplars;
mod floats;
mod histograms;

use std::ops::Range;

use model::{ExemplarPoint, HistogramSample, Metadata, MetricType, SeenMetadata};

use self::bytes::{Bytes, RefReader, RefWriter, put_text, put_varint};

/// What a record is; the log carries it as a number on the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Samples of one request, with the definitions of series that are new.
    Samples = 1,
    /// A window was frozen under a sequence number.
    Cut = 2,
    /// A cut is in the table.
    Committed = 3,
    /// Definitions that outlive their segment.
    Carried = 4,
    /// Descriptions of metric families, of the whole tenant.
    Metadata = 5,
}

/// The version of all payloads.
pub const VERSION: u8 = 1;

/// The shard of records that concern the whole tenant.
pub const NO_SHARD: u32 = u32::MAX;

const DEFINITIONS: u8 = 1;
const FLOATS: u8 = 2;
const STARTS: u8 = 3;
const HISTOGRAMS: u8 = 4;
const EXEMPLARS: u8 = 5;
const METADATA: u8 = 6;
const SEEN: u8 = 8;

/// Why a payload could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The payload ends in the middle of something.
    #[error("the record ends too early")]
    TooShort,
    /// Bytes that cannot have been written by us.
    #[error("malformed {0} in the record")]
    Malformed(&'static str),
    /// Something that this version does not know: leaving it out would lose what was acknowledged.
    #[error("unknown {0}: the log was written by a newer version")]
    Newer(&'static str),
    /// The log holds cuts of windows of another length.
    #[error(
        "the log was written with windows of {ms} ms: start with that `ingester.window`, flush, and change it then"
    )]
    OtherWindow {
        /// Their length.
        ms: i64,
    },
}

/// A series that gets a ref; `run` is its canonical label run.
#[derive(Debug, Clone, Copy)]
pub struct Definition<'a> {
    /// The number by which later records refer to it.
    pub series_ref: u32,
    /// The canonical label run.
    pub run: &'a [u8],
    /// Timestamp and bits of the newest sample that is in a committed cut.
    pub flushed: Option<(i64, u64)>,
}

/// A freeze, as it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutRecord {
    /// First millisecond of the window.
    pub window_start: i64,
    /// Its length.
    pub window_ms: i64,
    /// The cut's number, never given to another cut of this shard.
    pub sequence: u64,
    /// The last record of the shard that the cut may hold samples of.
    pub through_lsn: u64,
    /// How many shards there were when it was cut; part of the transaction's name.
    pub shards: u32,
}

/// The confirmation of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedRecord {
    /// The cut's number.
    pub sequence: u64,
    /// A version of the table that holds it.
    pub table_version: u64,
}

/// The columns of a samples record, and of a carried one. Kept and refilled from record to record.
#[derive(Debug, Default)]
pub struct Samples {
    definitions: Vec<Defined>,
    runs: Vec<u8>,
    /// Series of the floats.
    pub refs: Vec<u32>,
    /// Timestamps, parallel to `refs`.
    pub timestamps: Vec<i64>,
    /// Values, parallel to `refs`.
    pub values: Vec<f64>,
    /// As long as `timestamps`, or empty.
    pub starts: Vec<i64>,
    /// Histograms with their series.
    pub histograms: Vec<(u32, HistogramSample)>,
    /// Exemplars with their series.
    pub exemplars: Vec<(u32, ExemplarPoint)>,
}

/// A definition whose label run lies in the buffer of all runs.
#[derive(Debug)]
struct Defined {
    series_ref: u32,
    run: Range<usize>,
    flushed: Option<(i64, u64)>,
}

/// Begins a section; [`end_section`] fills in its length.
fn begin_section(out: &mut Vec<u8>, tag: u8) -> usize {
    out.push(tag);
    // A length of four bytes as a varint, so that it can be filled in afterwards.
    out.extend_from_slice(&[0x80, 0x80, 0x80, 0x00]);
    out.len()
}

fn end_section(out: &mut [u8], start: usize) {
    let len = out.len() - start;
    debug_assert!(len < 1 << 28, "a section is shorter than any request");
    out[start - 4] = len as u8 | 0x80;
    out[start - 3] = (len >> 7) as u8 | 0x80;
    out[start - 2] = (len >> 14) as u8 | 0x80;
    out[start - 1] = (len >> 21) as u8 & 0x7F;
}

/// The most bytes of a record: what the length of one section can tell.
pub const MAX_LEN: usize = (1 << 28) - 1;

/// Appends the definitions of series, if there are any.
pub fn put_definitions<'a>(out: &mut Vec<u8>, definitions: impl ExactSizeIterator<Item = Definition<'a>>) {
    if definitions.len() == 0 {
        return;
    }
    let start = begin_section(out, DEFINITIONS);
    put_varint(out, definitions.len() as u64);
    let mut refs = RefWriter::new();
    for definition in definitions {
        refs.put(out, definition.series_ref);
        put_varint(out, (definition.run.len() as u64) << 1 | u64::from(definition.flushed.is_some()));
        out.extend_from_slice(definition.run);
        if let Some((timestamp, bits)) = definition.flushed {
            out.extend_from_slice(&timestamp.to_le_bytes());
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
    end_section(out, start);
}

/// Appends float samples, if there are any. `starts` is parallel or empty.
pub fn put_floats(out: &mut Vec<u8>, refs: &[u32], timestamps: &[i64], values: &[f64], starts: &[i64]) {
    if values.is_empty() {
        return;
    }
    let start = begin_section(out, FLOATS);
    floats::encode(out, refs, timestamps, values);
    end_section(out, start);
    if !starts.is_empty() {
        let start = begin_section(out, STARTS);
        floats::put_runs(out, starts);
        end_section(out, start);
    }
}

/// Appends histogram samples, if there are any.
pub fn put_histograms(out: &mut Vec<u8>, samples: &[(u32, HistogramSample)]) {
    if samples.is_empty() {
        return;
    }
    let start = begin_section(out, HISTOGRAMS);
    histograms::encode(out, samples);
    end_section(out, start);
}

/// Appends exemplars, if there are any.
pub fn put_exemplars(out: &mut Vec<u8>, exemplars: &[(u32, ExemplarPoint)]) {
    if exemplars.is_empty() {
        return;
    }
    let start = begin_section(out, EXEMPLARS);
    exemplars::encode(out, exemplars);
    end_section(out, start);
}

/// Appends descriptions of metric families, and when each was first seen.
pub fn put_metadata(out: &mut Vec<u8>, rows: &[(&Metadata, i64)]) {
    let start = begin_section(out, METADATA);
    put_varint(out, rows.len() as u64);
    for (family, _) in rows {
        out.push(type_code(family.metric_type));
        put_text(out, &family.family);
        put_text(out, &family.unit);
        put_text(out, &family.help);
    }
    end_section(out, start);
    let start = begin_section(out, SEEN);
    let seen: Vec<i64> = rows.iter().map(|(_, seen_ms)| *seen_ms).collect();
    floats::put_runs(out, &seen);
    end_section(out, start);
}

impl Samples {
    /// Replaces the columns with those of a samples record.
    pub fn decode(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        self.clear();
        let mut sections = Bytes::new(payload);
        while !sections.is_empty() {
            let tag = sections.u8()?;
            let len = sections.count(1)?;
            let section = Bytes::new(sections.take(len)?);
            match tag {
                DEFINITIONS => self.decode_definitions(section)?,
                FLOATS => {
                    floats::decode(section, &mut self.refs, &mut self.timestamps, &mut self.values)?;
                }
                STARTS => self.decode_starts(section)?,
                HISTOGRAMS => histograms::decode(section, &mut self.histograms)?,
                EXEMPLARS => exemplars::decode(section, &mut self.exemplars)?,
                _ => return Err(RecordError::Newer("section")),
            }
        }
        Ok(())
    }

    /// The definitions, which come before the samples.
    pub fn definitions(&self) -> impl Iterator<Item = Definition<'_>> {
        self.definitions.iter().map(|defined| Definition {
            series_ref: defined.series_ref,
            run: &self.runs[defined.run.clone()],
            flushed: defined.flushed,
        })
    }

    /// The series of everything in the record.
    pub fn all_refs(&self) -> impl Iterator<Item = u32> + '_ {
        let histograms = self.histograms.iter().map(|(series_ref, _)| *series_ref);
        let exemplars = self.exemplars.iter().map(|(series_ref, _)| *series_ref);
        self.refs.iter().copied().chain(histograms).chain(exemplars)
    }

    fn clear(&mut self) {
        self.definitions.clear();
        self.runs.clear();
        self.refs.clear();
        self.timestamps.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }

    fn decode_definitions(&mut self, mut bytes: Bytes<'_>) -> Result<(), RecordError> {
        let n = bytes.count(1)?;
        let mut refs = RefReader::new();
        for _ in 0..n {
            let series_ref = refs.get(&mut bytes)?;
            let head = bytes.varint()?;
            let len = usize::try_from(head >> 1).map_err(|_| RecordError::Malformed("label run"))?;
            let run = bytes.take(len)?;
            let start = self.runs.len();
            self.runs.extend_from_slice(run);
            let flushed = if head & 1 == 1 { Some((bytes.i64()?, bytes.u64()?)) } else { None };
            self.definitions.push(Defined { series_ref, run: start..self.runs.len(), flushed });
        }
        Ok(())
    }

    fn decode_starts(&mut self, mut bytes: Bytes<'_>) -> Result<(), RecordError> {
        floats::get_runs(&mut bytes, self.timestamps.len(), &mut self.starts)
    }
}

impl Kind {
    /// The kind that an envelope names.
    pub fn of(kind: u8, version: u8) -> Result<Kind, RecordError> {
        if version != VERSION {
            return Err(RecordError::Newer("record version"));
        }
        match kind {
            1 => Ok(Kind::Samples),
            2 => Ok(Kind::Cut),
            3 => Ok(Kind::Committed),
            4 => Ok(Kind::Carried),
            5 => Ok(Kind::Metadata),
            _ => Err(RecordError::Newer("record kind")),
        }
    }
}

impl CutRecord {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(36);
        out.extend_from_slice(&self.window_start.to_le_bytes());
        out.extend_from_slice(&self.window_ms.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.through_lsn.to_le_bytes());
        out.extend_from_slice(&self.shards.to_le_bytes());
        out
    }

    /// What the payload says.
    pub fn decode(payload: &[u8]) -> Result<CutRecord, RecordError> {
        let mut bytes = Bytes::new(payload);
        Ok(CutRecord {
            window_start: bytes.i64()?,
            window_ms: bytes.i64()?,
            sequence: bytes.u64()?,
            through_lsn: bytes.u64()?,
            shards: bytes.u32()?,
        })
    }
}

impl CommittedRecord {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        [self.sequence.to_le_bytes(), self.table_version.to_le_bytes()].concat()
    }

    /// What the payload says.
    pub fn decode(payload: &[u8]) -> Result<CommittedRecord, RecordError> {
        let mut bytes = Bytes::new(payload);
        Ok(CommittedRecord { sequence: bytes.u64()?, table_version: bytes.u64()? })
    }
}

/// Begins a carried record; definitions follow.
pub fn put_next_sequence(out: &mut Vec<u8>, next_sequence: u64) {
    out.extend_from_slice(&next_sequence.to_le_bytes());
}

/// The next sequence number of a carried record, and its sections.
pub fn decode_carried(payload: &[u8]) -> Result<(u64, &[u8]), RecordError> {
    let mut bytes = Bytes::new(payload);
    let next_sequence = bytes.u64()?;
    Ok((next_sequence, bytes.rest()))
}

/// The descriptions in a metadata record. Those of a record that does not say when they were seen have `now_ms`.
pub fn decode_metadata(payload: &[u8], now_ms: i64) -> Result<Vec<SeenMetadata>, RecordError> {
    let mut sections = Bytes::new(payload);
    let mut rows = Vec::new();
    while !sections.is_empty() {
        let tag = sections.u8()?;
        let len = sections.count(1)?;
        let section = Bytes::new(sections.take(len)?);
        match tag {
            METADATA => rows = decode_families(section, now_ms)?,
            SEEN => decode_seen(section, &mut rows)?,
            _ => return Err(RecordError::Newer("section")),
        }
    }
    Ok(rows)
}

fn decode_families(mut bytes: Bytes<'_>, seen_ms: i64) -> Result<Vec<SeenMetadata>, RecordError> {
    let n = bytes.count(1)?;
    (0..n)
        .map(|_| {
            let metric_type = type_of(bytes.u8()?)?;
            let family = bytes.text()?.to_string();
            let unit = bytes.text()?.to_string();
            let help = bytes.text()?.to_string();
            Ok(SeenMetadata { metadata: Metadata { family, metric_type, unit, help }, seen_ms })
        })
        .collect()
}

fn decode_seen(mut bytes: Bytes<'_>, rows: &mut [SeenMetadata]) -> Result<(), RecordError> {
    let mut seen = Vec::new();
    floats::get_runs(&mut bytes, rows.len(), &mut seen)?;
    rows.iter_mut().zip(seen).for_each(|(row, seen_ms)| row.seen_ms = seen_ms);
    Ok(())
}

fn type_code(metric_type: MetricType) -> u8 {
    MetricType::ALL.iter().position(|t| *t == metric_type).unwrap_or_default() as u8
}

fn type_of(code: u8) -> Result<MetricType, RecordError> {
    MetricType::ALL.get(usize::from(code)).copied().ok_or(RecordError::Newer("metric type"))
}
