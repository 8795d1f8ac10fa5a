//! The series of a shard: their identities, labels, places, and what of them was flushed last.

use hashbrown::HashTable;
use model::SeriesId;

use super::arena::{Arena, Place};

/// A series in the table.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// The identity, in halves so that the entry needs no 16-byte alignment.
    id: [u64; 2],
    /// Newest flushed timestamp, `i64::MIN` for none.
    pub flushed_ts: i64,
    /// What was flushed there: the value's bits, or a hash of the histogram.
    pub flushed_bits: u64,
    /// The label run.
    pub run: Place,
    /// The group whose rows hold the next sample, and the cell in them.
    pub group: u32,
    /// See `group`.
    pub slot: u32,
    /// The series that followed this one in the last request.
    pub next: u32,
    /// Where in the current request's columns the newest sample of the series is, if it is there.
    pub last_at: u32,
    /// [`MOVED`], [`HAS_HISTOGRAMS`].
    pub flags: u32,
}

/// The series has samples in rows of a group that it has left.
pub(super) const MOVED: u32 = 1;
/// The series has had histogram samples.
pub(super) const HAS_HISTOGRAMS: u32 = 2;

const DEAD: u32 = 1 << 31;

/// The greatest ref; one bit is kept free for the postings.
const MAX_REF: u32 = (1 << 31) - 1;

/// No series.
pub(super) const NO_REF: u32 = u32::MAX;

const PAGE: usize = 64;

/// Series by ref and by identity.
///
/// Refs only grow, for the log remembers them; pages of refs that are all dead give their memory back.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    pages: Vec<Option<Box<Page>>>,
    /// Refs by identity.
    by_id: HashTable<u32>,
    pub arena: Arena,
    next_ref: u32,
    n_pages: usize,
}

#[derive(Debug)]
struct Page {
    series: [Series; PAGE],
    n_alive: usize,
}

impl Series {
    /// The identity.
    pub(super) fn id(&self) -> SeriesId {
        SeriesId(u128::from(self.id[0]) << 64 | u128::from(self.id[1]))
    }

    fn has_id(&self, id: SeriesId) -> bool {
        self.id == halves(id)
    }

    const NONE: Series = Series {
        id: [0; 2],
        flushed_ts: i64::MIN,
        flushed_bits: 0,
        run: Place { chunk: 0, offset: 0, len: 0 },
        group: 0,
        slot: 0,
        next: NO_REF,
        last_at: NO_REF,
        flags: DEAD,
    };
}

impl SeriesTable {
    /// A ref that was never used, or `None` when there are no more.
    pub(super) fn reserve_ref(&mut self) -> Option<u32> {
        let series_ref = self.next_ref;
        if series_ref > MAX_REF {
            return None;
        }
        self.next_ref += 1;
        Some(series_ref)
    }

    /// The series with this ref.
    pub(super) fn get(&self, series_ref: u32) -> Option<&Series> {
        let page = self.pages.get(series_ref as usize / PAGE)?.as_ref()?;
        let series = &page.series[series_ref as usize % PAGE];
        (series.flags & DEAD == 0).then_some(series)
    }

    /// The series with this ref.
    pub(super) fn get_mut(&mut self, series_ref: u32) -> Option<&mut Series> {
        let page = self.pages.get_mut(series_ref as usize / PAGE)?.as_mut()?;
        let series = &mut page.series[series_ref as usize % PAGE];
        (series.flags & DEAD == 0).then_some(series)
    }

    /// Whether `series_ref`, a guess, is the series with this identity.
    pub(super) fn is(&self, series_ref: u32, id: SeriesId) -> bool {
        self.get(series_ref).is_some_and(|series| series.has_id(id))
    }

    /// The ref of the series with this identity.
    pub(super) fn find(&self, id: SeriesId) -> Option<u32> {
        self.by_id.find(spread(halves(id)), |series_ref| self.is(*series_ref, id)).copied()
    }

    /// Adds a series that is not there yet.
    pub(super) fn insert(&mut self, series_ref: u32, id: SeriesId, run: &[u8], group: u32, slot: u32) {
        let run = self.arena.push(run);
        let page_at = series_ref as usize / PAGE;
        if self.pages.len() <= page_at {
            self.pages.resize_with(page_at + 1, || None);
        }
        let n_pages = &mut self.n_pages;
        let page = self.pages[page_at].get_or_insert_with(|| {
            *n_pages += 1;
            Box::new(Page { series: [const { Series::NONE }; PAGE], n_alive: 0 })
        });
        page.series[series_ref as usize % PAGE] =
            Series { id: halves(id), run, group, slot, flags: 0, ..Series::NONE };
        page.n_alive += 1;
        self.next_ref = self.next_ref.max(series_ref.saturating_add(1));
        let pages = &self.pages;
        self.by_id.insert_unique(spread(halves(id)), series_ref, |series_ref| spread_of(pages, *series_ref));
    }

    /// Forgets a series.
    pub(super) fn remove(&mut self, series_ref: u32) {
        let Some(id) = self.get(series_ref).map(Series::id) else { return };
        if let Ok(entry) = self.by_id.find_entry(spread(halves(id)), |known| *known == series_ref) {
            entry.remove();
        }
        let slot = &mut self.pages[series_ref as usize / PAGE];
        if let Some(page) = slot {
            page.series[series_ref as usize % PAGE] = Series::NONE;
            page.n_alive -= 1;
            if page.n_alive == 0 {
                *slot = None;
                self.n_pages -= 1;
            }
        }
    }

    /// The label run of a series.
    pub(super) fn run(&self, series: &Series) -> &[u8] {
        self.arena.get(series.run)
    }

    /// All series, by ref.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        self.pages.iter().enumerate().filter_map(|(i, page)| Some((i, page.as_ref()?))).flat_map(
            |(i, page)| {
                let alive = page.series.iter().enumerate().filter(|(_, series)| series.flags & DEAD == 0);
                alive.map(move |(k, series)| ((i * PAGE + k) as u32, series))
            },
        )
    }

    /// One more than the greatest ref.
    pub(super) fn ref_end(&self) -> u32 {
        self.next_ref
    }

    /// Makes sure that refs begin behind one that the log knows.
    pub(super) fn skip_to(&mut self, next_ref: u32) {
        self.next_ref = self.next_ref.max(next_ref);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Copies the runs of the living into a new arena.
    pub(super) fn rebuild_arena(&mut self) {
        let old = std::mem::take(&mut self.arena);
        for page in self.pages.iter_mut().flatten() {
            for series in page.series.iter_mut().filter(|series| series.flags & DEAD == 0) {
                series.run = self.arena.push(old.get(series.run));
            }
        }
        let pages = &self.pages;
        self.by_id.shrink_to_fit(|series_ref| spread_of(pages, *series_ref));
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.arena.bytes()
            + self.n_pages * size_of::<Page>()
            + 8 * self.pages.capacity()
            + self.by_id.allocation_size()
    }
}

fn halves(id: SeriesId) -> [u64; 2] {
    [(id.0 >> 64) as u64, id.0 as u64]
}

/// An identity is a hash already.
fn spread([high, low]: [u64; 2]) -> u64 {
    high ^ low
}

fn spread_of(pages: &[Option<Box<Page>>], series_ref: u32) -> u64 {
    let page = pages.get(series_ref as usize / PAGE).and_then(Option::as_ref);
    page.map_or(0, |page| spread(page.series[series_ref as usize % PAGE].id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    #[test]
    fn a_series_is_one_cache_line() {
        assert_eq!(size_of::<Series>(), 64);
    }

    #[test]
    fn a_series_is_found_until_it_is_removed_and_its_ref_is_not_used_again() {
        let mut table = SeriesTable::default();
        let labels: Vec<Labels> =
            (0..1000).map(|i| Labels::from_pairs([("__name__", format!("m{i}"))])).collect();
        for labels in &labels {
            let series_ref = table.reserve_ref().unwrap();
            table.insert(series_ref, labels.id(), labels.run(), 0, 0);
        }
        let before = table.bytes();
        for (i, labels) in labels.iter().enumerate() {
            assert_eq!(table.find(labels.id()), Some(i as u32));
            let series = table.get(i as u32).unwrap();
            assert_eq!(series.id(), labels.id());
            assert_eq!(table.run(series), labels.run());
        }
        (100..1000).for_each(|series_ref| table.remove(series_ref));
        table.rebuild_arena();
        assert!(table.bytes() < before / 4);
        assert_eq!(table.len(), 100);
        assert_eq!(table.find(labels[100].id()), None);
        assert_eq!(table.run(table.get(99).unwrap()), labels[99].run());
        assert_eq!(table.reserve_ref(), Some(1000));
        assert_eq!(table.iter().count(), 100);
    }
}
