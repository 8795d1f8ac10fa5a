//! Reading the head: series with samples, and labels.

use hashbrown::HashMap;
use model::{ExemplarSeries, Labels, Matcher, SeriesData, TimeRange, compare_runs};
use wire::{SERIES_BYTES, SelectBudget, SelectError, SeriesRange};

use super::ShardHead;
use super::generation::Generation;
use super::read::{Collected, Timeline};
use super::series::HAS_HISTOGRAMS;

/// Timelines of one select, by generation and place of the rows: made once per group.
type Timelines = HashMap<(usize, usize), Timeline>;

/// What putting a series in its place takes: its reference, its run's address, and both again while they are sorted.
const ORDERED_BYTES: u64 = 40;
/// What labels take in a list besides their bytes.
const LABELS_BYTES: u64 = 64;

impl ShardHead {
    /// The series that match with their samples in the range, sorted by labels. Columns of one series do not
    /// disagree but may overlap in time. The deadline is the caller's business.
    pub fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &SelectBudget,
    ) -> Result<Vec<SeriesData>, SelectError> {
        self.select_within(None, matchers, range, budget)
    }

    /// The same of some of the series, if not all.
    pub fn select_within(
        &self,
        within: Option<&SeriesRange>,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &SelectBudget,
    ) -> Result<Vec<SeriesData>, SelectError> {
        let mut timelines = Timelines::new();
        let mut buffer = Vec::new();
        let mut selected = Vec::new();
        if !self.generations().any(|(_, generation)| generation.overlaps(range)) {
            return Ok(selected);
        }
        let mut refs = self.resolve(matchers);
        if let Some(within) = within {
            let run_of = |series_ref: u32| self.series.get(series_ref).map(|series| self.series.run(series));
            refs.retain(|series_ref| run_of(*series_ref).is_some_and(|run| within.contains(run)));
        }
        let _ordered = budget.bytes.hold(ORDERED_BYTES * refs.len() as u64)?;
        for (run, series_ref) in self.in_order(refs) {
            let collected = self.collect(series_ref, range, &mut timelines, &mut buffer);
            if collected.n_samples == 0 {
                continue;
            }
            let labels = Labels::of_canonical_run(run);
            let cells: usize = collected.floats.iter().map(|column| column.values.len()).sum();
            budget.series.take(1)?;
            budget.samples.take(collected.n_samples as u64)?;
            let content = (labels.run().len() + 8 * cells + 256 * collected.histograms.len()) as u64;
            budget.bytes.take(SERIES_BYTES + content)?;
            selected.push(collected.into_series(labels));
        }
        Ok(selected)
    }

    /// The series that match one of the selectors (none: all) and have samples near the range, sorted.
    pub fn matching(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &SelectBudget,
    ) -> Result<Vec<Labels>, SelectError> {
        let mut matching = Vec::new();
        for (run, series_ref) in self.in_order(self.resolve_any(selectors)) {
            if !self.has_samples(series_ref, range) {
                continue;
            }
            let labels = Labels::of_canonical_run(run);
            budget.series.take(1)?;
            budget.bytes.take(LABELS_BYTES + labels.run().len() as u64)?;
            matching.push(labels);
        }
        Ok(matching)
    }

    /// The exemplars in the range of the series that match one of the selectors (none: all), sorted by labels.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        budget: &SelectBudget,
    ) -> Result<Vec<ExemplarSeries>, SelectError> {
        let mut found = Vec::new();
        if self.generations().all(|(_, generation)| generation.exemplars.is_empty()) {
            return Ok(found);
        }
        for (run, series_ref) in self.in_order(self.resolve_any(selectors)) {
            let mut exemplars = Vec::new();
            for (_, generation) in self.generations() {
                let log = generation.exemplars.get(&series_ref);
                exemplars.extend(log.map_or(&[][..], |log| log.points(range)).iter().cloned());
            }
            if exemplars.is_empty() {
                continue;
            }
            let labels = Labels::of_canonical_run(run);
            let label_bytes: usize = exemplars.iter().map(|point| point.labels.run().len() + 48).sum();
            budget.series.take(1)?;
            budget.samples.take(exemplars.len() as u64)?;
            budget.bytes.take((labels.run().len() + label_bytes) as u64)?;
            exemplars.sort_by_key(|point| point.timestamp);
            found.push(ExemplarSeries { labels, exemplars });
        }
        Ok(found)
    }

    /// The names of labels of these series, sorted.
    pub fn label_names(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<String> {
        let wanted = Wanted::new(self, selectors, range);
        self.postings.names(|series_ref| wanted.has(series_ref))
    }

    /// The values of one label of these series, sorted.
    pub fn label_values(&self, name: &str, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<String> {
        let wanted = Wanted::new(self, selectors, range);
        self.postings.values(name, &self.series.arena, |series_ref| wanted.has(series_ref))
    }

    /// Series that pass all matchers, by ref.
    fn resolve(&self, matchers: &[Matcher]) -> Vec<u32> {
        let all = || self.series.iter().map(|(series_ref, _)| series_ref).collect();
        let mut refs = self.postings.resolve(matchers, &self.series.arena, all);
        refs.retain(|series_ref| self.series.get(*series_ref).is_some());
        refs
    }

    pub(super) fn resolve_any(&self, selectors: &[Vec<Matcher>]) -> Vec<u32> {
        match selectors {
            [] => self.resolve(&[]),
            [one] => self.resolve(one),
            more => {
                let mut refs: Vec<u32> = more.iter().flat_map(|matchers| self.resolve(matchers)).collect();
                refs.sort_unstable();
                refs.dedup();
                refs
            }
        }
    }

    /// Series with their label runs, in the order of labels: to sort them by these is cheaper than to move whole
    /// columns.
    fn in_order(&self, refs: Vec<u32>) -> Vec<(&[u8], u32)> {
        let series =
            refs.into_iter().filter_map(|series_ref| Some((series_ref, self.series.get(series_ref)?)));
        let mut ordered: Vec<(&[u8], u32)> =
            series.map(|(series_ref, series)| (self.series.run(series), series_ref)).collect();
        ordered.sort_unstable_by(|(a, _), (b, _)| compare_runs(a, b));
        ordered
    }

    /// Frozen generations, then open ones, each with a number of its own.
    pub(super) fn generations(&self) -> impl Iterator<Item = (usize, &Generation)> {
        let frozen = self.frozen.iter().map(|frozen| frozen.generation());
        frozen.chain(&self.open).enumerate()
    }

    fn collect(
        &self,
        series_ref: u32,
        range: TimeRange,
        timelines: &mut Timelines,
        buffer: &mut Vec<f64>,
    ) -> Collected {
        let mut collected = Collected::new();
        for (number, generation) in self.generations() {
            if !generation.overlaps(range) {
                continue;
            }
            let first = collected.floats.len();
            self.for_each_place(series_ref, number, generation, |rows_at, slot| {
                let rows = &generation.rows[rows_at];
                let timeline =
                    timelines.entry((number, rows_at)).or_insert_with(|| Timeline::new(rows, range));
                if let Some((column, n_samples)) = timeline.column(rows, slot, buffer) {
                    collected.add_column(column, n_samples);
                }
            });
            collected.add_starts(first, generation.starts.get(&series_ref));
            if let Some(log) = generation.histograms.get(&series_ref) {
                collected.add_histograms(log.points(range));
            }
        }
        collected
    }

    pub(super) fn has_samples(&self, series_ref: u32, range: TimeRange) -> bool {
        let has_histograms =
            self.series.get(series_ref).is_some_and(|series| series.flags & HAS_HISTOGRAMS != 0);
        self.generations().filter(|(_, generation)| generation.overlaps(range)).any(|(number, generation)| {
            let mut found = has_histograms
                && generation.histograms.get(&series_ref).is_some_and(|log| log.has_samples(range));
            self.for_each_place(series_ref, number, generation, |rows_at, slot| {
                found = found || generation.rows[rows_at].has_samples(slot, range);
            });
            found
        })
    }

    /// Calls `found` with the rows and slots in which a generation may hold samples of the series. What was frozen
    /// remembers its own, since the series may have moved on.
    fn for_each_place(
        &self,
        series_ref: u32,
        number: usize,
        generation: &Generation,
        mut found: impl FnMut(usize, usize),
    ) {
        if let Some(frozen) = self.frozen.get(number) {
            let cells = frozen.cells_of(series_ref).iter();
            cells.for_each(|cells| found(cells.rows as usize, cells.slot as usize));
            return;
        }
        for (group, slot) in self.places(series_ref) {
            if let Some(rows_at) = generation.rows_of(group) {
                found(rows_at, slot as usize);
            }
        }
    }
}

/// The series that a label query asks about.
struct Wanted<'a> {
    head: &'a ShardHead,
    range: TimeRange,
    /// `None` when all series are asked about.
    refs: Option<Vec<u32>>,
}

impl Wanted<'_> {
    fn new<'a>(head: &'a ShardHead, selectors: &[Vec<Matcher>], range: TimeRange) -> Wanted<'a> {
        let refs = (!selectors.is_empty()).then(|| head.resolve_any(selectors));
        Wanted { head, range, refs }
    }

    fn has(&self, series_ref: u32) -> bool {
        let is_selected = self.refs.as_ref().is_none_or(|refs| refs.binary_search(&series_ref).is_ok());
        is_selected && self.head.has_samples(series_ref, self.range)
    }
}
