//! A generation that is being cut: it does not change any more and can be read without the shard's lock.

use std::cmp::Ordering;
use std::sync::OnceLock;

use model::{ExemplarSeries, Labels, METRIC_NAME, SeriesData, TimeRange, run_labels};

use super::arena::{Chunks, Place};
use super::generation::Generation;
use super::histograms::HistogramLog;
use super::read::{Collected, Span, Timeline};

/// A window's generation, frozen for the cut with this sequence number.
#[derive(Debug)]
pub struct Frozen {
    seq: u64,
    generation: Generation,
    chunks: Chunks,
    /// By ref.
    series: Vec<FrozenSeries>,
    /// Where the floats of the series lie, series after series.
    cells: Vec<Cells>,
    order: OnceLock<Vec<u32>>,
    timelines: Vec<OnceLock<Timeline>>,
    newest: OnceLock<Vec<Newest>>,
}

#[derive(Debug, Clone, Copy)]
struct FrozenSeries {
    series_ref: u32,
    run: Place,
    /// Its first entry in `cells`; the next series' first is the end.
    first_cells: u32,
}

/// How far a frozen generation has been read.
#[derive(Debug, Default)]
pub struct Reading {
    /// Place in the order of a block.
    next: usize,
}

/// A slot in the rows of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells {
    pub series_ref: u32,
    pub rows: u32,
    pub slot: u32,
}

/// The newest sample of a series, in as few bytes as will do: there are as many as series.
#[derive(Debug, Clone, Copy)]
struct Newest {
    /// Milliseconds after the start of the window; [`NO_SAMPLE`] for a series with exemplars only.
    offset_ms: u32,
    bits: [u32; 2],
}

/// Longer than a window, which divides a day.
const NO_SAMPLE: u32 = u32::MAX;

impl Frozen {
    /// Takes a generation whose rows are all closed. `cells` are all slots with samples; `run_of` knows labels.
    pub(super) fn new(
        seq: u64,
        generation: Generation,
        chunks: Chunks,
        mut cells: Vec<Cells>,
        run_of: impl Fn(u32) -> Option<Place>,
    ) -> Frozen {
        cells.sort_unstable_by_key(|cells| (cells.series_ref, cells.rows));
        cells.shrink_to_fit();
        let mut refs: Vec<u32> = cells.iter().map(|cells| cells.series_ref).collect();
        refs.extend(generation.histograms.keys());
        refs.extend(generation.exemplars.keys());
        refs.sort_unstable();
        refs.dedup();
        let mut series = Vec::with_capacity(refs.len());
        let mut first_cells = 0;
        for series_ref in refs {
            while cells.get(first_cells).is_some_and(|cells| cells.series_ref < series_ref) {
                first_cells += 1;
            }
            if let Some(run) = run_of(series_ref) {
                series.push(FrozenSeries { series_ref, run, first_cells: first_cells as u32 });
            }
        }
        let timelines = generation.rows.iter().map(|_| OnceLock::new()).collect();
        Frozen {
            seq,
            generation,
            chunks,
            series,
            cells,
            order: OnceLock::new(),
            timelines,
            newest: OnceLock::new(),
        }
    }

    /// The sequence number of the cut.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// First millisecond of the window.
    pub fn window_start(&self) -> i64 {
        self.generation.start
    }

    /// Series with samples or exemplars.
    pub fn n_series(&self) -> usize {
        self.series.len()
    }

    /// Float and histogram samples.
    pub fn n_samples(&self) -> usize {
        self.generation.n_samples
    }

    /// Newest timestamp.
    pub fn newest(&self) -> i64 {
        self.generation.newest
    }

    /// The series in the order of a block (metric name, then labels), each decoded when it is asked for. The series of one group share
    /// their timeline by pointer; cells are empty where a series missed a scrape.
    pub fn series(&self) -> impl Iterator<Item = SeriesData> + '_ {
        let mut reading = Reading::default();
        std::iter::from_fn(move || self.next_series(&mut reading))
    }

    /// The series with exemplars, in the order of a block.
    pub fn exemplars(&self) -> impl Iterator<Item = ExemplarSeries> + '_ {
        let mut reading = Reading::default();
        std::iter::from_fn(move || self.next_exemplars(&mut reading))
    }

    /// The next of [`Frozen::series`].
    pub fn next_series(&self, reading: &mut Reading) -> Option<SeriesData> {
        while let Some(at) = self.order().get(reading.next) {
            reading.next += 1;
            if self.has_samples(*at as usize) {
                return Some(self.decode(*at as usize));
            }
        }
        None
    }

    /// The next of [`Frozen::exemplars`].
    pub fn next_exemplars(&self, reading: &mut Reading) -> Option<ExemplarSeries> {
        if !self.has_exemplars() {
            return None;
        }
        while let Some(at) = self.order().get(reading.next) {
            reading.next += 1;
            let series = self.series[*at as usize];
            if let Some(log) = self.generation.exemplars.get(&series.series_ref) {
                let exemplars = log.points(TimeRange::ALL).to_vec();
                return Some(ExemplarSeries { labels: self.labels(series.run), exemplars });
            }
        }
        None
    }

    /// Whether there is an exemplar.
    pub fn has_exemplars(&self) -> bool {
        !self.generation.exemplars.is_empty()
    }

    /// Does now, without any lock, what [`super::ShardHead::drop_frozen`] needs.
    pub fn prepare_drop(&self) {
        self.newest_samples();
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.generation.bytes()
            + size_of::<FrozenSeries>() * self.series.capacity()
            + size_of::<Cells>() * self.cells.capacity()
            + size_of::<OnceLock<Timeline>>() * self.timelines.capacity()
            + self.order.get().map_or(0, |order| 4 * order.capacity())
            + self.newest.get().map_or(0, |newest| size_of::<Newest>() * newest.capacity())
    }

    /// The samples themselves.
    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Where the floats of a series lie.
    pub(super) fn cells_of(&self, series_ref: u32) -> &[Cells] {
        match self.series.binary_search_by_key(&series_ref, |series| series.series_ref) {
            Ok(at) => self.cells_at(at),
            Err(_) => &[],
        }
    }

    /// Where the floats of a series lie, for one after the other in the order of refs: `at` is where the last was found.
    pub(super) fn cells_after(&self, at: &mut usize, series_ref: u32) -> &[Cells] {
        let rest = &self.series[*at..];
        let reach =
            (0..).map(|n| 1usize << n).find(|n| rest.get(*n).is_none_or(|s| s.series_ref > series_ref));
        let near = &rest[..reach.map_or(rest.len(), |n| n.min(rest.len()))];
        *at += near.partition_point(|series| series.series_ref < series_ref);
        match self.series.get(*at) {
            Some(series) if series.series_ref == series_ref => self.cells_at(*at),
            _ => &[],
        }
    }

    /// The bits of a float stored for the series at `ts`.
    pub(super) fn stored_float(&self, series_ref: u32, ts: i64) -> Option<u64> {
        let stored =
            |cells: &Cells| self.generation.rows[cells.rows as usize].stored(cells.slot as usize, ts);
        self.cells_of(series_ref).iter().find_map(stored).map(f64::to_bits)
    }

    /// The refs of the series.
    pub(super) fn refs(&self) -> impl Iterator<Item = u32> + '_ {
        self.series.iter().map(|series| series.series_ref)
    }

    /// Ref, time and bits of the newest sample of each series.
    pub(super) fn newest_of_each(&self) -> impl Iterator<Item = (u32, i64, u64)> + '_ {
        let of_each = self.series.iter().zip(self.newest_samples());
        of_each.filter(|(_, newest)| newest.offset_ms != NO_SAMPLE).map(|(series, newest)| {
            let [low, high] = newest.bits;
            let ts = self.generation.start + i64::from(newest.offset_ms);
            (series.series_ref, ts, u64::from(high) << 32 | u64::from(low))
        })
    }

    fn newest_samples(&self) -> &[Newest] {
        self.newest.get_or_init(|| (0..self.series.len()).map(|at| self.newest_at(at)).collect())
    }

    fn newest_at(&self, at: usize) -> Newest {
        let floats = self.cells_at(at).iter().filter_map(|cells| {
            let (ts, value) = self.generation.rows[cells.rows as usize].newest(cells.slot as usize)?;
            Some((ts, value.to_bits()))
        });
        let series_ref = self.series[at].series_ref;
        let histogram = self.generation.histograms.get(&series_ref).and_then(HistogramLog::newest);
        let Some((ts, bits)) = floats.chain(histogram).max_by_key(|(ts, _)| *ts) else {
            return Newest { offset_ms: NO_SAMPLE, bits: [0; 2] };
        };
        let offset_ms = u32::try_from(ts - self.generation.start).unwrap_or(NO_SAMPLE);
        Newest { offset_ms, bits: [bits as u32, (bits >> 32) as u32] }
    }

    fn cells_at(&self, at: usize) -> &[Cells] {
        let end = self.series.get(at + 1).map_or(self.cells.len(), |next| next.first_cells as usize);
        &self.cells[self.series[at].first_cells as usize..end]
    }

    fn has_samples(&self, at: usize) -> bool {
        !self.cells_at(at).is_empty() || self.generation.histograms.contains_key(&self.series[at].series_ref)
    }

    fn labels(&self, run: Place) -> Labels {
        // Runs were checked when they were decoded; what is not canonical would be shown without labels.
        Labels::from_run(self.chunks.get(run)).unwrap_or_else(|_| Labels::empty())
    }

    fn order(&self) -> &[u32] {
        self.order.get_or_init(|| {
            let mut order: Vec<u32> = (0..self.series.len() as u32).collect();
            let run = |at: u32| self.chunks.get(self.series[at as usize].run);
            order.sort_unstable_by(|a, b| compare_runs(run(*a), run(*b)));
            order
        })
    }

    fn decode(&self, at: usize) -> SeriesData {
        let series = self.series[at];
        let labels = self.labels(series.run);
        let mut collected = Collected::new();
        let mut columns = Vec::with_capacity(1);
        for cells in self.cells_at(at) {
            let rows = &self.generation.rows[cells.rows as usize];
            let timeline = self.timelines[cells.rows as usize]
                .get_or_init(|| Timeline::new(Span::new(rows, TimeRange::ALL)));
            columns.extend(timeline.column(rows, cells.slot as usize));
        }
        collected.add(columns, self.generation.starts.get(&series.series_ref));
        if let Some(log) = self.generation.histograms.get(&series.series_ref) {
            collected.add_histograms(log.points(TimeRange::ALL));
        }
        let data = collected.into_series(labels, None);
        // A series that changed its group has two columns; whoever cuts wants one.
        if data.floats.len() > 1 { data.merged() } else { data }
    }
}

/// The order of series in a block: by metric name, then by all labels. Label names may sort before `__name__`.
fn compare_runs(a: &[u8], b: &[u8]) -> Ordering {
    let metric =
        |run| run_labels(run).find(|label| label.name == METRIC_NAME.as_bytes()).map(|label| label.value);
    metric(a).cmp(&metric(b)).then_with(|| model::compare_runs(a, b))
}
