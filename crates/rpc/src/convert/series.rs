use std::collections::HashMap;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use model::{FloatColumn, HistogramPoint, Labels, SeriesData};
use wire::bytes::{Reader, put_f64s, put_histogram, put_i64s, take_histogram};

use super::{CHUNK_BYTES, Malformed, labels, run};
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
        let mut chunk = firn::SelectResponse::default();
        let mut len = 0;
        while len < CHUNK_BYTES {
            let Some(mut open) = self.open.take().or_else(|| self.series.next().map(Open::from)) else {
                break;
            };
            let mut piece = firn::Series { labels: run(&open.labels), ..firn::Series::default() };
            len += piece.labels.len();
            self.put_floats(&mut open, &mut piece, &mut chunk.timelines, &mut len);
            piece.starts = pairs(&std::mem::take(&mut open.starts));
            len += piece.starts.len();
            piece.histograms = put_histograms(&mut open.histograms, &mut len);
            chunk.series.push(piece);
            if open.floats.len() > 0 || open.histograms.len() > 0 {
                self.open = Some(open);
            }
        }
        (!chunk.series.is_empty()).then_some(chunk)
    }

    fn put_floats(
        &mut self,
        open: &mut Open,
        piece: &mut firn::Series,
        timelines: &mut Vec<Bytes>,
        len: &mut usize,
    ) {
        while *len < CHUNK_BYTES {
            let Some(FloatColumn { timeline, values }) = open.floats.next() else { break };
            let next = self.sent.len() as u32;
            let index = *self.sent.entry((timeline.as_ptr() as usize, timeline.len())).or_insert(next);
            if index == next {
                let bytes = column(|out| put_i64s(out, &timeline));
                *len += bytes.len();
                timelines.push(bytes);
            }
            let values = column(|out| put_f64s(out, &values));
            *len += values.len() + 8;
            piece.columns.push(firn::Column { timeline: index, values });
        }
    }
}

impl From<SeriesData> for Open {
    fn from(series: SeriesData) -> Open {
        Open {
            labels: series.labels,
            floats: series.floats.into_iter(),
            starts: series.starts,
            histograms: series.histograms.into_iter(),
        }
    }
}

fn put_histograms(histograms: &mut vec::IntoIter<HistogramPoint>, len: &mut usize) -> Bytes {
    let mut out = Vec::new();
    while *len + out.len() < CHUNK_BYTES {
        let Some(point) = histograms.next() else { break };
        put_i64s(&mut out, &[point.timestamp, point.start_timestamp]);
        put_histogram(&mut out, &point.histogram);
    }
    *len += out.len();
    out.into()
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
                Some(last) if last.labels == series.labels => last.absorb(series),
                _ => {
                    cost.series += 1;
                    self.series.push(series);
                }
            }
        }
        Ok(cost)
    }

    /// All series, which must have come in the order of their labels.
    pub(crate) fn finish(self) -> Result<Vec<SeriesData>, Malformed> {
        let in_order = self.series.windows(2).all(|pair| pair[0].labels < pair[1].labels);
        if in_order { Ok(self.series) } else { Err(Malformed("series are not in order".to_string())) }
    }

    fn take_series(&self, piece: &firn::Series) -> Result<SeriesData, Malformed> {
        let mut series = SeriesData::new(labels(&piece.labels)?);
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

fn pairs(starts: &[(i64, i64)]) -> Bytes {
    column(|out| starts.iter().for_each(|(timestamp, start)| put_i64s(out, &[*timestamp, *start])))
}
