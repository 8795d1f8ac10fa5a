use std::collections::BTreeMap;
use std::sync::Arc;

use model::{FloatColumn, HistogramPoint, SeriesData};

/// The part of a series that lies in one window: what becomes its rows.
pub(crate) struct Piece {
    pub(crate) floats: Option<FloatColumn>,
    /// Whether other series are known to have the same timeline.
    pub(crate) shared: bool,
    pub(crate) starts: Vec<(i64, i64)>,
    pub(crate) histograms: Vec<HistogramPoint>,
}

/// Cuts a series at the borders of windows, in order of time.
pub(crate) fn pieces(mut data: SeriesData, window_ms: i64) -> Vec<Piece> {
    let lies_whole = data.histograms.is_empty() && data.floats.len() == 1;
    if lies_whole && in_one_window(&data.floats[0].timeline, window_ms) {
        let column = data.floats.remove(0);
        let shared = Arc::strong_count(&column.timeline) > 1;
        return vec![Piece { floats: Some(column), shared, starts: data.starts, histograms: Vec::new() }];
    }
    let mut cuts: BTreeMap<i64, Cut> = BTreeMap::new();
    for column in data.floats {
        cut_column(column, window_ms, &mut cuts);
    }
    for start in data.starts {
        cuts.entry(start.0.div_euclid(window_ms)).or_default().starts.push(start);
    }
    for point in data.histograms {
        cuts.entry(point.timestamp.div_euclid(window_ms)).or_default().histograms.push(point);
    }
    cuts.into_values().map(|cut| cut.into_piece(&data.labels)).collect()
}

#[derive(Default)]
struct Cut {
    columns: Vec<FloatColumn>,
    shared: bool,
    starts: Vec<(i64, i64)>,
    histograms: Vec<HistogramPoint>,
}

impl Cut {
    fn into_piece(mut self, labels: &model::Labels) -> Piece {
        self.columns.sort_by_key(|column| column.timeline.first().copied());
        let floats = match self.columns.len() {
            0 => None,
            1 => self.columns.pop(),
            _ if follow_each_other(&self.columns) => Some(concatenate(&self.columns)),
            _ => {
                let mut series = SeriesData::new(labels.clone());
                series.floats = self.columns;
                series.merged().floats.pop()
            }
        };
        let mut histograms = SeriesData::new(labels.clone());
        histograms.histograms = self.histograms;
        histograms.starts = self.starts;
        let merged = histograms.merged();
        Piece { floats, shared: self.shared, starts: merged.starts, histograms: merged.histograms }
    }
}

fn in_one_window(times: &[i64], window_ms: i64) -> bool {
    match (times.first(), times.last()) {
        (Some(first), Some(last)) => first.div_euclid(window_ms) == last.div_euclid(window_ms),
        _ => true,
    }
}

fn cut_column(column: FloatColumn, window_ms: i64, cuts: &mut BTreeMap<i64, Cut>) {
    let shared = Arc::strong_count(&column.timeline) > 1;
    let Some(first) = column.timeline.first() else { return };
    if in_one_window(&column.timeline, window_ms) {
        let cut = cuts.entry(first.div_euclid(window_ms)).or_default();
        cut.shared |= shared;
        cut.columns.push(column);
        return;
    }
    let mut from = 0;
    while from < column.timeline.len() {
        let window = column.timeline[from].div_euclid(window_ms);
        let to = from + column.timeline[from..].partition_point(|ts| ts.div_euclid(window_ms) == window);
        let cut = cuts.entry(window).or_default();
        cut.shared |= shared;
        cut.columns.push(FloatColumn {
            timeline: column.timeline[from..to].into(),
            values: column.values[from..to].to_vec(),
        });
        from = to;
    }
}

fn follow_each_other(columns: &[FloatColumn]) -> bool {
    columns.windows(2).all(|pair| pair[0].timeline.last() < pair[1].timeline.first())
}

/// Keeps empty cells, so that the series of one target still share the whole list.
fn concatenate(columns: &[FloatColumn]) -> FloatColumn {
    let times: Vec<i64> = columns.iter().flat_map(|column| column.timeline.iter().copied()).collect();
    let values = columns.iter().flat_map(|column| column.values.iter().copied()).collect();
    FloatColumn::new(times, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{EMPTY, Labels};

    #[test]
    fn columns_that_follow_each_other_keep_their_empty_cells() {
        let mut data = SeriesData::new(Labels::from_pairs([("__name__", "a")]));
        let empty = f64::from_bits(EMPTY);
        data.floats.push(FloatColumn::new(vec![30, 40, 110], vec![3.0, empty, 5.0]));
        data.floats.push(FloatColumn::new(vec![10, 20], vec![1.0, empty]));
        data.starts.push((110, 7));
        let pieces = pieces(data, 100);
        assert_eq!(pieces.len(), 2);
        let first = pieces[0].floats.as_ref().unwrap();
        assert_eq!(&first.timeline[..], [10, 20, 30, 40]);
        assert_eq!(first.samples().count(), 2);
        assert_eq!(pieces[1].starts, [(110, 7)]);
    }
}
