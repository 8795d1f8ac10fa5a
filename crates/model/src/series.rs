use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::{Histogram, Labels, SeriesId, is_empty_cell, resolve};

/// Values over a timeline that may be shared with other series. A cell may be empty ([`crate::EMPTY`]).
#[derive(Debug, Clone)]
pub struct FloatColumn {
    /// Ascending timestamps, without repetition.
    pub timeline: Arc<[i64]>,
    /// One value or empty cell per timestamp.
    pub values: Vec<f64>,
}

/// A histogram sample of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramPoint {
    /// When.
    pub timestamp: i64,
    /// Since when it counts, 0 for unknown.
    pub start_timestamp: i64,
    /// The histogram, shared since queries hold it while they look at it from many steps.
    pub histogram: Arc<Histogram>,
}

/// What is known of one series in a range of time: what a select returns, what a cut hands to the block writer.
#[derive(Debug, Clone)]
pub struct SeriesData {
    /// The labels, or those of them that are looked at.
    pub labels: Labels,
    /// The identity, where the labels are not all there.
    pub id: Option<SeriesId>,
    /// Float samples; columns may overlap in time until [`SeriesData::merged`].
    pub floats: Vec<FloatColumn>,
    /// Start timestamps of float samples as (timestamp, start timestamp), ascending; sparse.
    pub starts: Vec<(i64, i64)>,
    /// Histogram samples, ascending, without repetition.
    pub histograms: Vec<HistogramPoint>,
}

impl FloatColumn {
    /// A column without empty cells.
    pub fn new(timeline: Vec<i64>, values: Vec<f64>) -> FloatColumn {
        FloatColumn { timeline: timeline.into(), values }
    }

    /// The samples: the cells that are not empty.
    pub fn samples(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        self.timeline.iter().copied().zip(self.values.iter().copied()).filter(|(_, v)| !is_empty_cell(*v))
    }

    /// The same samples without empty cells; keeps the shared timeline when there are none.
    pub fn dense(self) -> FloatColumn {
        if !any_cell(&self.values, is_empty_cell) {
            return self;
        }
        let (timeline, values): (Vec<i64>, Vec<f64>) = self.samples().unzip();
        FloatColumn::new(timeline, values)
    }
}

impl SeriesData {
    /// A series without samples.
    pub fn new(labels: Labels) -> SeriesData {
        SeriesData { labels, id: None, floats: Vec::new(), starts: Vec::new(), histograms: Vec::new() }
    }

    /// The identity of the series.
    pub fn identity(&self) -> SeriesId {
        self.id.unwrap_or_else(|| self.labels.id())
    }

    /// One dense column at most, ascending; where columns disagree on a timestamp, [`resolve`] decides.
    pub fn merged(mut self) -> SeriesData {
        if self.floats.len() > 1 {
            self.floats = vec![merge_columns(&self.floats)];
        } else if self.floats.first().is_some_and(|column| any_cell(&column.values, is_empty_cell)) {
            self.floats = self.floats.into_iter().map(FloatColumn::dense).collect();
        }
        self.floats.retain(|column| !column.values.is_empty());
        self.starts.sort_unstable();
        self.starts.dedup_by_key(|(ts, _)| *ts);
        self.histograms.sort_by(|a, b| {
            let start = |point: &HistogramPoint| (point.start_timestamp == 0, point.start_timestamp);
            let same_time = || b.histogram.rank(&a.histogram).then_with(|| start(a).cmp(&start(b)));
            a.timestamp.cmp(&b.timestamp).then_with(same_time)
        });
        self.histograms.dedup_by_key(|point| point.timestamp);
        self
    }

    /// Takes the samples of `other`, which has the same labels.
    pub fn absorb(&mut self, other: SeriesData) {
        self.floats.extend(other.floats);
        self.starts.extend(other.starts);
        self.histograms.extend(other.histograms);
    }
}

/// The series of several answers, each once: sorted by labels, or in no order where some have fewer labels than they are
/// known by.
pub fn unite(mut series: Vec<SeriesData>) -> Vec<SeriesData> {
    if series.iter().any(|one| one.id.is_some()) {
        return join_by_identity(series);
    }
    sort_by_labels(&mut series);
    if series.windows(2).all(|pair| pair[0].labels != pair[1].labels) {
        return series;
    }
    let mut joined: Vec<SeriesData> = Vec::with_capacity(series.len());
    for series in series {
        match joined.last_mut().filter(|last| last.labels == series.labels) {
            Some(last) => last.absorb(series),
            None => joined.push(series),
        }
    }
    joined
}

/// Sorts series by labels. Numbers are moved about, and the series once.
pub fn sort_by_labels(series: &mut Vec<SeriesData>) {
    if series.is_sorted_by(|a, b| a.labels <= b.labels) {
        return;
    }
    let mut order: Vec<usize> = (0..series.len()).collect();
    order.sort_by(|a, b| series[*a].labels.cmp(&series[*b].labels));
    let mut unsorted: Vec<Option<SeriesData>> = std::mem::take(series).into_iter().map(Some).collect();
    series.extend(order.into_iter().filter_map(|at| unsorted[at].take()));
}

fn join_by_identity(series: Vec<SeriesData>) -> Vec<SeriesData> {
    if !may_repeat(&series) {
        return series;
    }
    // An identity is a hash already: half of it is as good to find the place by.
    let mut places: HashTable<(SeriesId, usize)> = HashTable::with_capacity(series.len());
    let hash = |id: &SeriesId| id.0 as u64;
    let mut joined: Vec<SeriesData> = Vec::with_capacity(series.len());
    for series in series {
        let id = series.identity();
        match places.entry(hash(&id), |known| known.0 == id, |known| hash(&known.0)) {
            Entry::Occupied(known) => joined[known.get().1].absorb(series),
            Entry::Vacant(free) => {
                free.insert((id, joined.len()));
                joined.push(series);
            }
        }
    }
    joined
}

/// Whether an identity may be there twice: no is certain. As a rule it is no, and then no series is moved.
fn may_repeat(series: &[SeriesData]) -> bool {
    // At most half full. An identity is a hash already: some bits of it choose the place, others stand there.
    let mut seen = vec![0u32; (2 * series.len()).next_power_of_two()];
    let mask = seen.len() - 1;
    for one in series {
        let id = one.identity().0;
        let (mut at, print) = (id as usize & mask, (id >> 96) as u32 | 1);
        while seen[at] != 0 {
            if seen[at] == print {
                return true;
            }
            at = (at + 1) & mask;
        }
        seen[at] = print;
    }
    false
}

/// Merges one series after the other. Series whose columns have the same timelines share the joined one, too.
#[derive(Debug, Default)]
pub struct Merger {
    parts: Vec<Arc<[i64]>>,
    joined: Arc<[i64]>,
}

impl Merger {
    /// The same as [`SeriesData::merged`].
    pub fn merge(&mut self, mut series: SeriesData) -> SeriesData {
        if series.floats.len() > 1 && follow_each_other(&series.floats) {
            series.floats = vec![self.join(&series.floats)];
        }
        series.merged()
    }

    fn join(&mut self, columns: &[FloatColumn]) -> FloatColumn {
        let known = self.parts.len() == columns.len()
            && self.parts.iter().zip(columns).all(|(part, column)| Arc::ptr_eq(part, &column.timeline));
        if !known {
            self.parts = columns.iter().map(|column| Arc::clone(&column.timeline)).collect();
            self.joined = columns.iter().flat_map(|column| column.timeline.iter().copied()).collect();
        }
        let mut values = Vec::with_capacity(self.joined.len());
        columns.iter().for_each(|column| values.extend_from_slice(&column.values));
        FloatColumn { timeline: Arc::clone(&self.joined), values }
    }
}

/// Whether each column begins after the end of the one before it.
fn follow_each_other(columns: &[FloatColumn]) -> bool {
    columns.windows(2).all(|pair| match (pair[0].timeline.last(), pair[1].timeline.first()) {
        (Some(last), Some(first)) => last < first,
        _ => false,
    })
}

/// Whether one of the cells is so. Looks at many of them at once: of most columns none is.
pub fn any_cell(cells: &[f64], is_so: impl Fn(f64) -> bool) -> bool {
    cells.chunks(64).any(|chunk| chunk.iter().fold(false, |any, cell| any | is_so(*cell)))
}

fn merge_columns(columns: &[FloatColumn]) -> FloatColumn {
    let mut samples: Vec<(i64, f64)> = columns.iter().flat_map(FloatColumn::samples).collect();
    // Columns are runs in order; a stable sort merges them in linear time when they follow each other.
    samples.sort_by_key(|(ts, _)| *ts);
    samples.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 = resolve(kept.1, later.1);
        }
        same
    });
    let (timeline, values): (Vec<i64>, Vec<f64>) = samples.into_iter().unzip();
    FloatColumn::new(timeline, values)
}

/// The exemplars of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarSeries {
    /// The series.
    pub labels: Labels,
    /// Its exemplars by time, each once.
    pub exemplars: Vec<ExemplarPoint>,
}

/// An exemplar by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarPoint {
    /// When.
    pub timestamp: i64,
    /// The observed value.
    pub value: f64,
    /// Its own labels, `trace_id` among them as a rule.
    pub labels: Labels,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counts, EMPTY, STALE_NAN};

    #[test]
    fn series_of_several_answers_are_each_there_once_whether_their_labels_are_whole_or_not() {
        let names = ["d", "b", "a", "b", "c", "a"];
        for is_whole in [true, false] {
            let series = (0..).zip(names).map(|(at, name)| {
                let labels = Labels::from_pairs([("__name__", name)]);
                let id = (!is_whole).then(|| labels.id());
                let mut series = SeriesData::new(if is_whole { labels } else { Labels::empty() });
                series.id = id;
                series.floats.push(FloatColumn::new(vec![at], vec![at as f64]));
                series
            });
            let mut united: Vec<_> = unite(series.collect())
                .into_iter()
                .map(|one| {
                    (one.identity(), one.floats.iter().map(|column| column.timeline[0]).collect::<Vec<_>>())
                })
                .collect();
            let mut wanted = [("a", vec![2, 5]), ("b", vec![1, 3]), ("c", vec![4]), ("d", vec![0])]
                .map(|(name, times)| (Labels::from_pairs([("__name__", name)]).id(), times));
            if !is_whole {
                united.sort();
                wanted.sort();
            }
            assert_eq!(united, wanted);
        }
    }

    #[test]
    fn many_series_without_labels_stay_as_they_are_unless_one_is_there_twice() {
        let one = |n: usize| {
            let mut series = SeriesData::new(Labels::empty());
            series.id = Some(Labels::from_pairs([("n", n.to_string())]).id());
            series
        };
        let ids = |series: &[SeriesData]| series.iter().map(SeriesData::identity).collect::<Vec<_>>();
        for n in [1, 2, 1000] {
            let all: Vec<SeriesData> = (0..n).map(one).collect();
            assert_eq!(ids(&unite(all.clone())), ids(&all));
            for again in [0, n / 2, n - 1] {
                let twice = all.iter().cloned().chain([one(again)]).collect();
                assert_eq!(ids(&unite(twice)), ids(&all));
            }
        }
        assert!(unite(Vec::new()).is_empty());
    }

    #[test]
    fn merging_keeps_each_timestamp_once() {
        let stale = f64::from_bits(STALE_NAN);
        let mut series = SeriesData::new(Labels::from_pairs([("__name__", "up")]));
        series.floats.push(FloatColumn::new(vec![1, 2, 3], vec![1.0, f64::from_bits(EMPTY), stale]));
        series.floats.push(FloatColumn::new(vec![2, 3, 4], vec![5.0, 6.0, 7.0]));
        let merged = series.merged();
        let samples: Vec<(i64, f64)> = merged.floats[0].samples().collect();
        assert_eq!(samples, [(1, 1.0), (2, 5.0), (3, 6.0), (4, 7.0)]);
    }

    #[test]
    fn a_conflict_of_histograms_is_resolved_alike_from_both_sides() {
        let of = |count: u64, start_timestamp| {
            let counts = Counts::Int { count, zero: count, positive: Vec::new(), negative: Vec::new() };
            let histogram = Arc::new(Histogram { counts, sum: 0.0, ..Histogram::stale() });
            HistogramPoint { timestamp: 1, start_timestamp, histogram }
        };
        let stale =
            HistogramPoint { timestamp: 1, start_timestamp: 0, histogram: Arc::new(Histogram::stale()) };
        let points = [of(1, 0), of(2, 0), of(2, 5), of(2, 7), stale];
        for a in &points {
            for b in &points {
                let merged = |points: [&HistogramPoint; 2]| {
                    let mut series = SeriesData::new(Labels::empty());
                    series.histograms = points.map(Clone::clone).to_vec();
                    format!("{:?}", series.merged().histograms)
                };
                assert_eq!(merged([a, b]), merged([b, a]));
            }
        }
    }

    fn columns(timelines: [&Arc<[i64]>; 2], values: [&[f64]; 2]) -> SeriesData {
        let mut series = SeriesData::new(Labels::empty());
        for (timeline, values) in timelines.into_iter().zip(values) {
            series.floats.push(FloatColumn { timeline: Arc::clone(timeline), values: values.to_vec() });
        }
        series
    }

    #[test]
    fn a_merger_gives_what_merging_gives_and_shares_timelines() {
        let (a, b): (Arc<[i64]>, Arc<[i64]>) = (Arc::from([1, 2]), Arc::from([3, 4]));
        let late: Arc<[i64]> = Arc::from([2, 5]);
        let empty = f64::from_bits(EMPTY);
        let mut merger = Merger::default();
        let mut merged = Vec::new();
        for series in [
            columns([&a, &b], [&[1.0, 2.0], &[3.0, 4.0]]),
            columns([&a, &b], [&[5.0, 6.0], &[7.0, 8.0]]),
            columns([&a, &b], [&[5.0, empty], &[7.0, 8.0]]),
            columns([&b, &a], [&[5.0, 6.0], &[7.0, 8.0]]),
            columns([&a, &late], [&[5.0, 6.0], &[7.0, 8.0]]),
        ] {
            let expected = series.clone().merged();
            let column = merger.merge(series).floats.remove(0);
            assert!(column.samples().eq(expected.floats[0].samples()));
            assert_eq!(column.timeline, expected.floats[0].timeline);
            merged.push(column);
        }
        assert!(Arc::ptr_eq(&merged[0].timeline, &merged[1].timeline));
        assert_eq!(&*merged[2].timeline, &[1, 3, 4]);
    }
}
