use std::sync::Arc;

use model::{Labels, Matcher, SeriesData, TenantIds, TimeRange};
use runtime::{MemoryPart, Reservation};
use wire::{Held, LabelsRequest, Query, QueryError, Raw, RawRequest, SelectBudget, SelectError, SeriesRange};

/// The most samples of a page of more than one series: 4 MiB of floats.
const PAGE_SAMPLES: u64 = 1 << 18;
/// Series of the first page, when not all fit one.
const FIRST_GROUP: usize = 64;
/// What a label set takes in memory beside its bytes.
const LABELS_OVERHEAD: usize = 48;

/// Which series are wanted, and whose.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) tenants: TenantIds,
    /// A series counts when it passes one of them.
    pub(crate) selectors: Vec<Vec<Matcher>>,
    pub(crate) range: TimeRange,
}

/// Series with their samples in the order of labels, a page at a time. A series is in one page only.
pub(crate) struct Pages {
    querier: Arc<dyn Query>,
    memory: MemoryPart,
    wanted: Wanted,
    state: State,
}

/// Some of the series; while it lives, its memory is counted.
pub(crate) struct Page {
    pub(crate) series: Vec<SeriesData>,
    _held: Held,
}

enum State {
    /// Nothing is known: perhaps they fit one page.
    Untried,
    Listed(List),
    Done,
}

/// Series that are to be read in groups.
struct List {
    /// The next one last.
    left: Vec<Labels>,
    /// How many of them the next page is to have.
    group: usize,
    _reserved: Reservation,
}

impl Pages {
    pub(crate) fn new(querier: Arc<dyn Query>, memory: MemoryPart, wanted: Wanted) -> Pages {
        let Wanted { selectors, range, .. } = &wanted;
        let is_nothing = selectors.is_empty() || range.end < range.start;
        let state = if is_nothing { State::Done } else { State::Untried };
        Pages { querier, memory, wanted, state }
    }

    /// The next page that has series; `None` behind the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Page>, QueryError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::Untried => match self.ask(None, PAGE_SAMPLES).await? {
                    Raw::Series(series, held) => {
                        self.state = State::Done;
                        return Ok(page(series, held));
                    }
                    Raw::TooMany => self.state = State::Listed(self.list().await?),
                },
                State::Listed(list) => {
                    let Some(within) = list.next_group() else {
                        self.state = State::Done;
                        continue;
                    };
                    // A series that is too long for a page has one of its own.
                    let max_samples = if list.group == 1 { 0 } else { PAGE_SAMPLES };
                    if let Some(page) = self.read_group(within, max_samples).await? {
                        return Ok(Some(page));
                    }
                }
            }
        }
    }

    /// The page of the next group, unless it is empty or too large, when the next attempt is for fewer series.
    async fn read_group(
        &mut self,
        within: SeriesRange,
        max_samples: u64,
    ) -> Result<Option<Page>, QueryError> {
        let raw = self.ask(Some(within), max_samples).await?;
        let State::Listed(list) = &mut self.state else { return Ok(None) };
        match raw {
            Raw::TooMany if list.group == 1 => {
                Err(QueryError::Internal("one series is more than there may be of one".to_string()))
            }
            Raw::TooMany => {
                list.group = (list.group.min(list.left.len()) / 4).max(1);
                Ok(None)
            }
            Raw::Series(series, held) => {
                list.advance(n_samples(&series));
                Ok(page(series, held))
            }
        }
    }

    async fn ask(&self, within: Option<SeriesRange>, max_samples: u64) -> Result<Raw, QueryError> {
        let Wanted { tenants, selectors, range } = &self.wanted;
        let request = RawRequest { selectors: selectors.clone(), range: *range, within, max_samples };
        self.querier.raw(tenants, &request).await
    }

    async fn list(&self) -> Result<List, QueryError> {
        let Wanted { tenants, selectors, range } = &self.wanted;
        let request = LabelsRequest {
            selectors: selectors.clone(),
            range: *range,
            limit: 0,
            budget: SelectBudget::unlimited(),
            min_table_version: None,
        };
        let mut left = self.querier.series(tenants, &request).await?;
        left.reverse();
        let bytes: usize = left.iter().map(|labels| labels.run().len() + LABELS_OVERHEAD).sum();
        let over = |e: runtime::OverBudget| QueryError::Select(SelectError::Unavailable(e.to_string()));
        let reserved = self.memory.reserve(bytes as u64).map_err(over)?;
        Ok(List { left, group: FIRST_GROUP, _reserved: reserved })
    }
}

impl List {
    /// The next series, as many as a page is to have.
    fn next_group(&mut self) -> Option<SeriesRange> {
        let first = self.left.last()?.clone();
        let n = self.group.min(self.left.len());
        let last = self.left[self.left.len() - n].clone();
        Some(SeriesRange { first, last })
    }

    /// The group was read and had so many samples: the next one has as many series as should fill a page by half.
    fn advance(&mut self, n_samples: u64) {
        let n = self.group.min(self.left.len());
        self.left.truncate(self.left.len() - n);
        let of_one = (n_samples / n.max(1) as u64).max(1);
        let fitting = usize::try_from(PAGE_SAMPLES / 2 / of_one).unwrap_or(usize::MAX);
        self.group = fitting.clamp(1, 4 * self.group.max(1));
    }
}

fn page(series: Vec<SeriesData>, held: Held) -> Option<Page> {
    (!series.is_empty()).then_some(Page { series, _held: held })
}

fn n_samples(series: &[SeriesData]) -> u64 {
    let of_one = |series: &SeriesData| {
        series.floats.iter().map(|column| column.values.len()).sum::<usize>() + series.histograms.len()
    };
    series.iter().map(of_one).sum::<usize>() as u64
}
