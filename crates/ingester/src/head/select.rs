//! Reading the head: series with samples, and labels.

use std::sync::Arc;

use model::{ExemplarSeries, Labels, Matcher, SeriesData, TimeRange, compare_runs, sort_by_labels};
use wire::{Projection, SERIES_BYTES, SelectBudget, SelectError, SelectRequest, Taken};

use super::ShardHead;
use super::gather::Gather;
use super::generation::Generation;
use super::label_maker::LabelMaker;
use super::postings;
use super::series::{HAS_HISTOGRAMS, Series};

/// Samples that are read at a time, and series whatever they have of them.
const SLICE_SAMPLES: usize = 1 << 19;
const MIN_SLICE: usize = 64;
const MAX_SLICE: usize = 2048;

/// What a reference takes in the list of those that match.
const REF_BYTES: u64 = 4;
/// What labels take in a list besides their bytes.
const LABELS_BYTES: u64 = 64;

/// A select, of one head after the other and of each slice by slice: between two of them nothing of a head is held.
#[derive(Debug)]
pub struct Selecting<'r> {
    request: &'r SelectRequest,
    gather: Gather<'r>,
    labels: LabelMaker,
    /// What was found so far, in no order.
    pub series: Vec<SeriesData>,
}

impl<'r> Selecting<'r> {
    /// Nothing yet.
    pub fn new(request: &'r SelectRequest) -> Selecting<'r> {
        Selecting {
            request,
            gather: Gather::new(request.range, &request.budget),
            labels: LabelMaker::new(&request.projection),
            series: Vec::new(),
        }
    }

    /// The series of a head that match, by ref, some of which may be gone; the deadline is the caller's business.
    pub fn candidates(&self, head: &ShardHead) -> Result<Candidates<'r>, SelectError> {
        let SelectRequest { matchers, range, budget, .. } = self.request;
        if !head.generations().any(|generation| generation.overlaps(*range)) {
            return Ok(Candidates::default());
        }
        let refs = head.resolve(matchers);
        let held = budget.bytes.hold(REF_BYTES * refs.len() as u64)?;
        Ok(Candidates { refs, next: 0, per_slice: head.slice_len(), _held: Some(held) })
    }

    /// Selects the next slice of the candidates, of the same head, if there is one more.
    pub fn step(&mut self, head: &ShardHead, candidates: &mut Candidates<'r>) -> Result<(), SelectError> {
        let refs = candidates.next_slice();
        let Selecting { request, gather, labels, series: selected } = self;
        let mut series: Vec<(u32, &Series)> = Vec::with_capacity(refs.len());
        for series_ref in refs {
            let Some(one) = head.series.get(*series_ref) else { continue };
            if request.within.as_ref().is_none_or(|within| within.contains(head.series.run(one))) {
                series.push((*series_ref, one));
            }
        }
        let collected = gather.collect(head, &series)?;
        let (mut n_series, mut n_bytes) = (0, 0);
        for ((_, one), collected) in series.iter().zip(collected) {
            if collected.n_samples > 0 {
                let labels = labels.make(head.series.run(one), &mut n_bytes);
                n_bytes += SERIES_BYTES;
                n_series += 1;
                let id = (request.projection != Projection::All).then(|| one.id());
                selected.push(collected.into_series(labels, id));
            }
        }
        request.budget.series.take_all(std::iter::repeat_n(1, n_series))?;
        request.budget.bytes.take(n_bytes)
    }
}

/// Series that may be selected.
#[derive(Debug, Default)]
pub struct Candidates<'b> {
    refs: Vec<u32>,
    next: usize,
    pub(super) per_slice: usize,
    _held: Option<Taken<'b>>,
}

impl Candidates<'_> {
    /// Whether there are more.
    pub fn is_done(&self) -> bool {
        self.next >= self.refs.len()
    }

    fn next_slice(&mut self) -> &[u32] {
        let end = (self.next + self.per_slice).min(self.refs.len());
        let slice = &self.refs[self.next..end];
        self.next = end;
        slice
    }
}

impl ShardHead {
    /// The series that match with their samples in the range, sorted by labels. Columns of one series do not
    /// disagree but may overlap in time.
    pub fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        budget: &Arc<SelectBudget>,
    ) -> Result<Vec<SeriesData>, SelectError> {
        let request = SelectRequest {
            matchers: matchers.to_vec(),
            range,
            within: None,
            projection: Projection::All,
            budget: Arc::clone(budget),
            min_table_version: None,
        };
        let mut selecting = Selecting::new(&request);
        let mut candidates = selecting.candidates(self)?;
        while !candidates.is_done() {
            selecting.step(self, &mut candidates)?;
        }
        let mut series = selecting.series;
        sort_by_labels(&mut series);
        Ok(series)
    }

    /// The series that match one of the selectors (none: all), by ref, some of which may be gone.
    pub fn named<'b>(
        &self,
        selectors: &[Vec<Matcher>],
        budget: &'b SelectBudget,
    ) -> Result<Candidates<'b>, SelectError> {
        let refs = self.resolve_any(selectors);
        let held = budget.bytes.hold(REF_BYTES * refs.len() as u64)?;
        Ok(Candidates { refs, next: 0, per_slice: MAX_SLICE, _held: Some(held) })
    }

    /// Those of the next slice of the candidates that have samples near the range, in no order.
    pub fn matching(
        &self,
        candidates: &mut Candidates<'_>,
        range: TimeRange,
        budget: &SelectBudget,
    ) -> Result<Vec<Labels>, SelectError> {
        let refs = candidates.next_slice().iter().filter(|series_ref| self.has_samples(**series_ref, range));
        let runs = refs.filter_map(|series_ref| Some(self.series.run(self.series.get(*series_ref)?)));
        let matching: Vec<Labels> = runs.map(Labels::of_canonical_run).collect();
        budget.series.take_all(matching.iter().map(|_| 1))?;
        budget.bytes.take_all(matching.iter().map(|labels| LABELS_BYTES + labels.run().len() as u64))?;
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
        if self.generations().all(|generation| generation.exemplars.is_empty()) {
            return Ok(found);
        }
        for (run, series_ref) in self.in_order(self.resolve_any(selectors)) {
            let mut exemplars = Vec::new();
            for generation in self.generations() {
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

    /// Series that pass all matchers, by ref, and some that were forgotten.
    fn resolve(&self, matchers: &[Matcher]) -> Vec<u32> {
        let all = || self.series.iter().map(|(series_ref, _)| series_ref).collect();
        self.postings.resolve(matchers, &self.series.arena, all)
    }

    pub(super) fn resolve_any(&self, selectors: &[Vec<Matcher>]) -> Vec<u32> {
        match selectors {
            [] => self.resolve(&[]),
            [one] => self.resolve(one),
            more => {
                let mut refs: Vec<u32> = more.iter().flat_map(|matchers| self.resolve(matchers)).collect();
                postings::sort(&mut refs);
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

    /// Frozen generations, then open ones.
    pub(super) fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.frozen.iter().map(|frozen| frozen.generation()).chain(&self.open)
    }

    /// How many series are read at a time, so that nobody waits long for the head.
    fn slice_len(&self) -> usize {
        let n_samples: usize = self.generations().map(|generation| generation.n_samples).sum();
        let per_series = n_samples / self.series.len().max(1);
        (SLICE_SAMPLES / per_series.max(1)).clamp(MIN_SLICE, MAX_SLICE)
    }

    pub(super) fn has_samples(&self, series_ref: u32, range: TimeRange) -> bool {
        let has_histograms =
            self.series.get(series_ref).is_some_and(|series| series.flags & HAS_HISTOGRAMS != 0);
        self.generations().enumerate().filter(|(_, one)| one.overlaps(range)).any(|(number, generation)| {
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
