use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use model::{FloatColumn, HistogramPoint, Labels, SeriesData, SeriesId};
use wire::bytes::{Reader, put_f64s, put_histogram, put_i64s, take_histogram};

use super::{CHUNK_BYTES, Malformed, labels};
use crate::generated::firn;

/// Series on their way out, a chunk at a time. Timelines that series share are sent once.
pub(crate) struct SeriesOut {
    series: vec::IntoIter<SeriesData>,
    open: Option<Open>,
    /// By address and length; all of them live until they are sent, so no address means two.
    sent: HashMap<(usize, usize), u32>,
}

/// A series of which a part has been sent.
struct Open {
    labels: Labels,
    id: Option<SeriesId>,
    floats: vec::IntoIter<FloatColumn>,
    starts: Vec<(i64, i64)>,
    histograms: vec::IntoIter<HistogramPoint>,
}

impl SeriesOut {
    pub(crate) fn new(series: Vec<SeriesData>) -> SeriesOut {
        SeriesOut { series: series.into_iter(), open: None, sent: HashMap::new() }
    }

    /// The next chunk; `None` when all is sent. A single column may make it longer than others.
    pub(crate) fn chunk(&mut self) -> Option<firn::SelectResponse> {
        let mut chunk = Chunk::default();
        while chunk.len() < CHUNK_BYTES {
            let Some(mut open) = self.open.take().or_else(|| self.series.next().map(Open::from)) else {
                break;
            };
            let labels = chunk.put(|out| out.extend_from_slice(open.labels.run()));
            let id = chunk.put(|out| open.id.iter().for_each(|id| out.extend(id.0.to_le_bytes())));
            let n_columns = self.put_floats(&mut open, &mut chunk);
            let starts = std::mem::take(&mut open.starts);
            let starts = chunk.put(|out| starts.iter().for_each(|(ts, start)| put_i64s(out, &[*ts, *start])));
            let histograms = chunk.put(|out| put_histograms(&mut open.histograms, out));
            chunk.pieces.push(Piece { labels, id, n_columns, starts, histograms });
            if open.floats.len() > 0 || open.histograms.len() > 0 {
                self.open = Some(open);
            }
        }
        (!chunk.pieces.is_empty()).then(|| chunk.finish())
    }

    fn put_floats(&mut self, open: &mut Open, chunk: &mut Chunk) -> usize {
        let n_before = chunk.columns.len();
        while chunk.len() < CHUNK_BYTES {
            let Some(FloatColumn { timeline, values }) = open.floats.next() else { break };
            let next = self.sent.len() as u32;
            let index = *self.sent.entry((timeline.as_ptr() as usize, timeline.len())).or_insert(next);
            if index == next {
                let timeline = chunk.put(|out| put_i64s(out, &timeline));
                chunk.timelines.push(timeline);
            }
            let values = chunk.put(|out| put_f64s(out, &values));
            chunk.columns.push((index, values));
        }
        chunk.columns.len() - n_before
    }
}

/// A message to be. All of its bytes are in one place, or each of its many columns would be an allocation.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    timelines: Vec<Range<usize>>,
    pieces: Vec<Piece>,
    /// Those of one piece after the other: which timeline, and the values.
    columns: Vec<(u32, Range<usize>)>,
}

/// Where in the bytes the parts of a series are.
struct Piece {
    labels: Range<usize>,
    id: Range<usize>,
    n_columns: usize,
    starts: Range<usize>,
    histograms: Range<usize>,
}

impl Chunk {
    fn put(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let from = self.bytes.len();
        put(&mut self.bytes);
        from..self.bytes.len()
    }

    /// About as many bytes as the message will have.
    fn len(&self) -> usize {
        self.bytes.len() + 8 * (self.columns.len() + self.pieces.len())
    }

    fn finish(self) -> firn::SelectResponse {
        let bytes = Bytes::from(self.bytes);
        let mut columns = self.columns.into_iter().map(|(timeline, values)| {
            let values = bytes.slice(values);
            firn::Column { timeline, values }
        });
        let series = self.pieces.into_iter().map(|piece| firn::Series {
            labels: bytes.slice(piece.labels),
            id: bytes.slice(piece.id),
            columns: columns.by_ref().take(piece.n_columns).collect(),
            starts: bytes.slice(piece.starts),
            histograms: bytes.slice(piece.histograms),
        });
        let series = series.collect();
        let timelines = self.timelines.into_iter().map(|timeline| bytes.slice(timeline)).collect();
        firn::SelectResponse { timelines, series, ..firn::SelectResponse::default() }
    }
}

impl From<SeriesData> for Open {
    fn from(series: SeriesData) -> Open {
        Open {
            labels: series.labels,
            id: series.id,
            floats: series.floats.into_iter(),
            starts: series.starts,
            histograms: series.histograms.into_iter(),
        }
    }
}

/// As many as fit.
fn put_histograms(histograms: &mut vec::IntoIter<HistogramPoint>, out: &mut Vec<u8>) {
    while out.len() < CHUNK_BYTES {
        let Some(point) = histograms.next() else { break };
        put_i64s(out, &[point.timestamp, point.start_timestamp]);
        put_histogram(out, &point.histogram);
    }
}

/// Series on their way in.
#[derive(Debug, Default)]
pub(crate) struct SeriesIn {
    timelines: Vec<Arc<[i64]>>,
    series: Vec<SeriesData>,
}

impl SeriesIn {
    /// Takes a chunk; says what its series cost: series, samples, bytes.
    pub(crate) fn take(&mut self, chunk: firn::SelectResponse) -> Result<firn::Charge, Malformed> {
        let mut cost = firn::Charge::default();
        for timeline in &chunk.timelines {
            let timeline = take_timeline(timeline)?;
            cost.bytes += 8 * timeline.len() as u64;
            self.timelines.push(timeline);
        }
        for piece in chunk.series {
            let series = self.take_series(&piece)?;
            let n_cells: usize = series.floats.iter().map(|column| column.values.len()).sum();
            let n_floats: usize = series.floats.iter().map(|column| column.samples().count()).sum();
            cost.samples += (n_floats + series.histograms.len()) as u64;
            cost.bytes +=
                (piece.labels.len() + 8 * n_cells + 16 * series.starts.len() + piece.histograms.len()) as u64;
            match self.series.last_mut() {
                Some(last) if last.labels == series.labels && last.id == series.id => last.absorb(series),
                _ => {
                    cost.series += 1;
                    self.series.push(series);
                }
            }
        }
        Ok(cost)
    }

    /// All series, which must have come in the order of their labels unless these are not all there.
    pub(crate) fn finish(self) -> Result<Vec<SeriesData>, Malformed> {
        let in_order = self
            .series
            .windows(2)
            .all(|pair| pair[0].labels < pair[1].labels || pair[0].id.is_some() && pair[1].id.is_some());
        if in_order { Ok(self.series) } else { Err(Malformed("series are not in order".to_string())) }
    }

    fn take_series(&self, piece: &firn::Series) -> Result<SeriesData, Malformed> {
        // Neighbours have the same labels where some are left out.
        let known = self.series.last().filter(|last| last.labels.run() == &*piece.labels);
        let labels = known.map_or_else(|| labels(&piece.labels), |known| Ok(known.labels.clone()));
        let mut series = SeriesData::new(labels?);
        series.id = take_id(&piece.id)?;
        for column in &piece.columns {
            let timeline = self.timelines.get(column.timeline as usize);
            let timeline = timeline.ok_or_else(|| Malformed("a column without its timeline".to_string()))?;
            let mut reader = Reader::new(&column.values);
            let values = reader.f64s(timeline.len())?;
            reader.finish()?;
            series.floats.push(FloatColumn { timeline: Arc::clone(timeline), values });
        }
        let numbers = i64s(&piece.starts)?;
        let (pairs, odd) = numbers.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(Malformed("a start timestamp without its sample".to_string()));
        }
        series.starts = pairs.iter().map(|[timestamp, start]| (*timestamp, *start)).collect();
        let mut reader = Reader::new(&piece.histograms);
        while reader.left() > 0 {
            let (timestamp, start_timestamp) = (reader.i64()?, reader.i64()?);
            let histogram = Arc::new(take_histogram(&mut reader)?);
            series.histograms.push(HistogramPoint { timestamp, start_timestamp, histogram });
        }
        Ok(series)
    }
}

fn take_id(bytes: &[u8]) -> Result<Option<SeriesId>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = bytes.try_into().map_err(|_| Malformed(format!("an identity of {} bytes", bytes.len())))?;
    Ok(Some(SeriesId(u128::from_le_bytes(id))))
}

fn take_timeline(bytes: &[u8]) -> Result<Arc<[i64]>, Malformed> {
    let timeline = i64s(bytes)?;
    if timeline.windows(2).all(|pair| pair[0] < pair[1]) {
        Ok(timeline.into())
    } else {
        Err(Malformed("timestamps do not ascend".to_string()))
    }
}

/// All of `bytes` as numbers.
pub(crate) fn i64s(bytes: &[u8]) -> Result<Vec<i64>, Malformed> {
    let mut reader = Reader::new(bytes);
    let numbers = reader.i64s(bytes.len() / 8)?;
    reader.finish()?;
    Ok(numbers)
}

/// All of `bytes` as numbers.
pub(crate) fn f64s(bytes: &[u8]) -> Result<Vec<f64>, Malformed> {
    let mut reader = Reader::new(bytes);
    let numbers = reader.f64s(bytes.len() / 8)?;
    reader.finish()?;
    Ok(numbers)
}

pub(crate) fn column(put: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    put(&mut out);
    out.into()
}
