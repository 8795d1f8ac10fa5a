//! Which rows of a row group pass matchers. Files never change, so what was found once is true of every later query.

use std::collections::HashMap;

use block::read::RowForm;
use model::{Labels, Matcher, SeriesId, Test, TimeRange, run_labels};
use wire::{Projection, SeriesRange};
use xxhash_rust::xxh3::xxh3_128;

use crate::labels::{PIECE_ROWS, Pieces};

/// What labels take besides their bytes: the heads of an allocation.
const LABELS_BYTES: usize = 32;
/// No index.
pub(crate) const NONE: u32 = u32::MAX;

/// Matchers and the labels that are wanted of what passes them, known by the hash of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Question(u128);

/// A series, with those of its labels that are wanted.
#[derive(Debug, Clone)]
pub(crate) struct MatchedSeries {
    pub(crate) id: SeriesId,
    pub(crate) labels: Labels,
}

/// A row that matches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatchedRow {
    /// Its number in the row group.
    pub(crate) row: u32,
    /// Index among the series.
    pub(crate) series: u32,
    /// Index among the timelines; [`NONE`] where it has its own timestamps.
    pub(crate) timeline: u32,
    pub(crate) n_samples: u32,
    /// First and last timestamp, since the match's origin; where a number is too small for it, as many as it can tell.
    times: (u32, u32),
    pub(crate) form: RowForm,
}

/// The rows of a row group that match, at any time.
#[derive(Debug)]
pub(crate) struct GroupMatch {
    pub(crate) group: usize,
    origin: i64,
    pub(crate) series: Box<[MatchedSeries]>,
    /// In their order; those of a series follow each other.
    pub(crate) rows: Box<[MatchedRow]>,
    /// The numbers of the timelines that rows refer to.
    pub(crate) timelines: Box<[u32]>,
    /// Of the series' labels, each counted once.
    pub(crate) label_bytes: usize,
}

impl Question {
    pub(crate) fn of(matchers: &[Matcher], projection: &Projection) -> Question {
        let mut text = Vec::with_capacity(128);
        let mut push = |part: &str| {
            text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            text.extend_from_slice(part.as_bytes());
        };
        for matcher in matchers {
            push(&matcher.name);
            push(matcher.op.symbol());
            push(&matcher.value);
        }
        let (kind, names) = match projection {
            Projection::All => ("all", &[][..]),
            Projection::Only(names) => ("only", &names[..]),
            Projection::Without(names) => ("without", &names[..]),
        };
        push(kind);
        names.iter().for_each(|name| push(name));
        Question(xxh3_128(&text))
    }
}

impl GroupMatch {
    /// First and last timestamp of a row; where they are not known, any that includes them.
    pub(crate) fn times(&self, row: &MatchedRow) -> TimeRange {
        let (first, last) = row.times;
        let start = if first == 0 { i64::MIN } else { self.origin.saturating_add(i64::from(first)) };
        let end = if last == u32::MAX { i64::MAX } else { self.origin.saturating_add(i64::from(last)) };
        TimeRange::new(start, end)
    }

    /// Bytes of memory held.
    pub(crate) fn size(&self) -> usize {
        size_of::<GroupMatch>()
            + self.series.len() * size_of::<MatchedSeries>()
            + self.rows.len() * size_of::<MatchedRow>()
            + self.timelines.len() * 4
            + self.label_bytes
    }
}

/// Tests rows.
pub(crate) struct Matching<'m> {
    pub(crate) test: Test<'m>,
    pub(crate) projector: Projector<'m>,
    pub(crate) within: Option<&'m SeriesRange>,
}

/// A match that grows by pieces of labels.
#[derive(Debug)]
pub(crate) struct Growing {
    group: usize,
    origin: Option<i64>,
    series: Vec<MatchedSeries>,
    rows: Vec<MatchedRow>,
    timelines: Vec<u32>,
    by_number: HashMap<u32, u32>,
    label_bytes: usize,
    /// The labels of the last row, and which series it is if it passed: the rows of one follow each other.
    last: Vec<u8>,
    last_series: Option<u32>,
}

impl Growing {
    pub(crate) fn new(group: usize) -> Growing {
        Growing {
            group,
            origin: None,
            series: Vec::new(),
            rows: Vec::new(),
            timelines: Vec::new(),
            by_number: HashMap::new(),
            label_bytes: 0,
            last: Vec::new(),
            last_series: None,
        }
    }

    pub(crate) fn group(&self) -> usize {
        self.group
    }

    /// Adds those rows of these pieces that pass. The pieces come in the order of rows.
    pub(crate) fn add(&mut self, pieces: &Pieces, matching: &mut Matching<'_>) {
        for (piece, labels) in pieces {
            for (offset, row) in (0..labels.len()).filter_map(|i| Some((i, labels.get(i)?))) {
                let Some(series) = self.series_of(row.run, matching) else { continue };
                let timeline = row.ts_ref.map_or(NONE, |number| self.timeline(number));
                let times = self.offsets(row.times);
                let (number, n_samples) = ((piece * PIECE_ROWS + offset) as u32, row.count);
                self.rows.push(MatchedRow {
                    row: number,
                    series,
                    timeline,
                    n_samples,
                    times,
                    form: row.form,
                });
            }
        }
    }

    /// Bytes of memory held, about.
    pub(crate) fn size(&self) -> usize {
        self.series.len() * size_of::<MatchedSeries>()
            + self.rows.len() * size_of::<MatchedRow>()
            + self.label_bytes
    }

    pub(crate) fn finish(self) -> GroupMatch {
        GroupMatch {
            group: self.group,
            origin: self.origin.unwrap_or(0),
            series: self.series.into(),
            rows: self.rows.into(),
            timelines: self.timelines.into(),
            label_bytes: self.label_bytes,
        }
    }

    /// The series with this run, if it passes.
    fn series_of(&mut self, run: &[u8], matching: &mut Matching<'_>) -> Option<u32> {
        let is_first = self.last.is_empty() && self.series.is_empty();
        if !is_first && self.last == run {
            return self.last_series;
        }
        self.last.clear();
        self.last.extend_from_slice(run);
        let passes = matching.test.passes(run) && matching.within.is_none_or(|within| within.contains(run));
        self.last_series = passes.then(|| {
            let (labels, is_new) = matching.projector.labels(run);
            self.label_bytes += if is_new { labels.run().len() + LABELS_BYTES } else { 0 };
            self.series.push(MatchedSeries { id: SeriesId::of_run(run), labels });
            self.series.len() as u32 - 1
        });
        self.last_series
    }

    fn timeline(&mut self, number: u32) -> u32 {
        *self.by_number.entry(number).or_insert_with(|| {
            self.timelines.push(number);
            self.timelines.len() as u32 - 1
        })
    }

    /// Times since the origin, which lies well before the first row: a file holds a day, and 32 bits tell 49 of them.
    fn offsets(&mut self, times: TimeRange) -> (u32, u32) {
        let origin = *self.origin.get_or_insert(times.start.saturating_sub(i64::from(i32::MAX)));
        let offset = |timestamp: i64| timestamp.saturating_sub(origin).clamp(0, i64::from(u32::MAX)) as u32;
        (offset(times.start), offset(times.end))
    }
}

/// Makes the wanted labels of series, shared by those that have the same.
pub(crate) struct Projector<'p> {
    projection: &'p Projection,
    run: Vec<u8>,
    last: Labels,
    known: HashMap<SeriesId, Labels>,
}

impl<'p> Projector<'p> {
    pub(crate) fn new(projection: &'p Projection) -> Projector<'p> {
        Projector { projection, run: Vec::new(), last: Labels::empty(), known: HashMap::new() }
    }

    /// The wanted ones of the labels with this run, and whether nobody had the same before.
    pub(crate) fn labels(&mut self, run: &[u8]) -> (Labels, bool) {
        if *self.projection == Projection::All {
            return (Labels::of_canonical_run(run), true);
        }
        self.run.clear();
        for label in run_labels(run).filter(|label| self.projection.wants(label.name)) {
            self.run.extend_from_slice(label.bytes);
        }
        if *self.last.run() == *self.run {
            return (self.last.clone(), false);
        }
        let id = SeriesId::of_run(&self.run);
        let is_new = !self.known.contains_key(&id);
        let labels = self.known.entry(id).or_insert_with(|| Labels::of_canonical_run(&self.run));
        self.last = labels.clone();
        (self.last.clone(), is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MatcherOp;

    #[test]
    fn questions_differ_where_matchers_or_wanted_labels_do() {
        let matcher = |name, op, value| Matcher::new(name, op, value).unwrap();
        let sets = [
            vec![],
            vec![matcher("a", MatcherOp::Equal, "b")],
            vec![matcher("a", MatcherOp::Regex, "b")],
            vec![matcher("a", MatcherOp::Equal, "b"), matcher("c", MatcherOp::Equal, "d")],
            vec![matcher("a", MatcherOp::Equal, "bc"), matcher("", MatcherOp::Equal, "d")],
        ];
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let projections = [
            Projection::All,
            Projection::Only(names(&[])),
            Projection::Only(names(&["a"])),
            Projection::Without(names(&[])),
            Projection::Without(names(&["a"])),
            Projection::Without(names(&["a", "b"])),
        ];
        let mut seen = std::collections::HashSet::new();
        for matchers in &sets {
            for projection in &projections {
                let question = Question::of(matchers, projection);
                assert!(seen.insert(question), "{matchers:?} {projection:?}");
                assert_eq!(question, Question::of(matchers, projection));
            }
        }
    }

    #[test]
    fn times_of_a_row_are_known_or_wide() {
        let mut growing = Growing::new(0);
        for (times, expected) in [
            ((1_000, 2_000), (1_000, 2_000)),
            ((-5, 86_400_000), (-5, 86_400_000)),
            ((i64::MIN, i64::MAX), (i64::MIN, i64::MAX)),
            ((1 << 40, 1 << 41), (1_000 + i64::from(u32::MAX) - i64::from(i32::MAX), i64::MAX)),
        ] {
            let times = growing.offsets(TimeRange::new(times.0, times.1));
            let row =
                MatchedRow { row: 0, series: 0, timeline: NONE, n_samples: 0, times, form: RowForm::Floats };
            let matched = GroupMatch { origin: growing.origin.unwrap(), ..Growing::new(0).finish() };
            assert_eq!(matched.times(&row), TimeRange::new(expected.0, expected.1));
        }
    }
}
