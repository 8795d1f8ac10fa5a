//! Figures of a tenant's heads, shard by shard: each lock is held for steps of about a millisecond, values are told
//! apart by their hashes, and texts are fetched only of those that are shown.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use model::TenantId;
use runtime::Clock;
use tokio::sync::OwnedMutexGuard;
use wire::{
    Distinct, HeadStats, HeadStatsRequest, HeadTotals, HistogramStats, LabelStats, SelectBudget, SelectError,
    most_first,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::Ingester;
use crate::head::Chosen;
use crate::tenants::Shard;

/// So often all is counted anew because the index of a head was made anew meanwhile, which takes hours to happen again.
const ATTEMPTS: usize = 3;
/// What a value takes here: a hash and a [`Place`] with its share of the table around them.
const VALUE_BYTES: u64 = 48;
/// Texts fetched before the lock is let go.
const TEXTS_PER_STEP: usize = 1 << 12;

/// Why counting did not end.
enum Interrupted {
    /// The index of a head was made anew.
    Rebuilt,
    Failed(SelectError),
}

impl From<SelectError> for Interrupted {
    fn from(error: SelectError) -> Interrupted {
        Interrupted::Failed(error)
    }
}

impl Ingester {
    /// Figures of the tenant's series in memory.
    pub(crate) async fn count_heads(
        &self,
        tenant: &TenantId,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, SelectError> {
        let shards = self.inner.tenants.get(tenant).map(|tenant| tenant.shards()).unwrap_or_default();
        let turn = self.turn_to_count(&request.budget).await?;
        let (request, clock) = (request.clone(), self.inner.clock.clone());
        let counting = runtime::blocking(move || {
            // The count goes on when nobody waits for it any more, and the next one waits for its end.
            let _turn = turn;
            for _ in 0..ATTEMPTS {
                match Count::new(&shards, &request, &clock).run() {
                    Ok(stats) => return Ok(stats),
                    Err(Interrupted::Failed(error)) => return Err(error),
                    Err(Interrupted::Rebuilt) => {}
                }
            }
            Err(SelectError::Unavailable("the index changes while it is counted: ask again".to_string()))
        });
        counting.await.map_err(SelectError::Internal)?
    }

    /// Waits until no other count goes on, within the time of the question.
    async fn turn_to_count(&self, budget: &SelectBudget) -> Result<OwnedMutexGuard<()>, SelectError> {
        let turn = Arc::clone(&self.inner.counting).lock_owned();
        let Some(deadline) = budget.deadline else { return Ok(turn.await) };
        let left = deadline.saturating_duration_since(self.inner.clock.instant());
        runtime::timeout(left, turn).await.ok_or(SelectError::Timeout)
    }
}

/// A count under way.
struct Count<'a> {
    shards: &'a [Arc<Shard>],
    request: &'a HeadStatsRequest,
    clock: &'a Clock,
    deadline: Option<Instant>,
    chosen: Vec<Chosen>,
    totals: HeadTotals,
    labels: HashMap<Arc<str>, Tally>,
    histograms: HashMap<Vec<u8>, HistogramStats>,
}

/// What was counted of one label.
#[derive(Default)]
struct Tally {
    n_series: u64,
    n_bytes: u64,
    /// By the hash of the value.
    values: HashMap<u64, Place>,
}

/// A value: its series, and where its text is.
#[derive(Clone, Copy)]
struct Place {
    n_series: u64,
    shard: u32,
    pair: u32,
}

impl Count<'_> {
    fn new<'a>(shards: &'a [Arc<Shard>], request: &'a HeadStatsRequest, clock: &'a Clock) -> Count<'a> {
        Count {
            shards,
            request,
            clock,
            deadline: request.budget.deadline,
            chosen: Vec::with_capacity(shards.len()),
            totals: HeadTotals::default(),
            labels: HashMap::new(),
            histograms: HashMap::new(),
        }
    }

    fn run(mut self) -> Result<HeadStats, Interrupted> {
        for (at, shard) in self.shards.iter().enumerate() {
            let refs = self.refs(shard)?;
            self.look_at(shard, &refs);
            self.count_pairs(at as u32, shard)?;
            if self.request.histograms {
                self.count_histograms(shard, &refs)?;
            }
        }
        let mut labels = Vec::with_capacity(self.labels.len());
        for (name, tally) in &self.labels {
            labels.push(self.label(name, tally)?);
        }
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let mut histograms: Vec<HistogramStats> = self.histograms.into_values().collect();
        histograms.sort_by(|a, b| a.metric.cmp(&b.metric));
        Ok(HeadStats { totals: self.totals, labels, histograms })
    }

    /// The series of the shard that are asked about.
    fn refs(&self, shard: &Shard) -> Result<Vec<u32>, Interrupted> {
        let refs = shard.state.lock().head.matching_refs(&self.request.selectors);
        let Some(since_ms) = self.request.active_since_ms else { return Ok(refs) };
        let (mut active, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            self.check_deadline()?;
            next = shard.state.lock().head.keep_active(&refs, from, since_ms, &mut active);
        }
        Ok(active)
    }

    fn look_at(&mut self, shard: &Shard, refs: &[u32]) {
        let state = shard.state.lock();
        let (chosen, extent) = (state.head.choose(refs), state.head.extent());
        drop(state);
        self.totals.n_series += chosen.n_series();
        self.totals.n_columns += extent.n_columns;
        self.totals.oldest_ms = self.totals.oldest_ms.into_iter().chain(extent.oldest_ms).min();
        self.totals.newest_ms = self.totals.newest_ms.max(extent.newest_ms);
        self.chosen.push(chosen);
    }

    fn count_pairs(&mut self, at: u32, shard: &Shard) -> Result<(), Interrupted> {
        let Count { request, labels, chosen, .. } = self;
        let chosen = &chosen[at as usize];
        let mut next = Some(0);
        while let Some(from) = next {
            let mut n_new = 0;
            let state = shard.state.lock();
            if !state.head.knows(chosen) {
                return Err(Interrupted::Rebuilt);
            }
            next = state.head.count_pairs(chosen, from, |pair| {
                if !request.names.is_empty() && !request.names.iter().any(|name| **name == **pair.name) {
                    return;
                }
                let tally = labels.entry(Arc::clone(pair.name)).or_default();
                let n_series = pair.n_series;
                tally.n_series += n_series;
                tally.n_bytes += (size(pair.name.len()) + size(pair.value.len())) * n_series;
                let place = tally.values.entry(xxh3_64(pair.value)).or_insert_with(|| {
                    n_new += 1;
                    Place { n_series: 0, shard: at, pair: pair.pair }
                });
                place.n_series += n_series;
            });
            drop(state);
            request.budget.bytes.take(n_new * VALUE_BYTES)?;
            check_deadline(self.clock, self.deadline)?;
        }
        Ok(())
    }

    fn count_histograms(&mut self, shard: &Shard, refs: &[u32]) -> Result<(), Interrupted> {
        let mut next = Some(0);
        while let Some(from) = next {
            self.check_deadline()?;
            let histograms = &mut self.histograms;
            next = shard.state.lock().head.newest_histograms(refs, from, |metric, n_buckets| {
                let one = HistogramStats {
                    metric: String::from_utf8_lossy(metric).into_owned(),
                    n_series: 1,
                    n_buckets,
                    min_buckets: n_buckets,
                    max_buckets: n_buckets,
                };
                match histograms.get_mut(metric) {
                    Some(known) => known.absorb(&one),
                    None => {
                        histograms.insert(metric.to_vec(), one);
                    }
                }
            });
        }
        Ok(())
    }

    fn label(&self, name: &str, tally: &Tally) -> Result<LabelStats, Interrupted> {
        let hashes: Vec<u64> = tally.values.keys().copied().collect();
        self.request.budget.bytes.take(8 * hashes.len() as u64)?;
        Ok(LabelStats {
            name: name.to_string(),
            n_series: tally.n_series,
            n_bytes: tally.n_bytes,
            values: Distinct::of(hashes),
            top: self.top(tally)?,
        })
    }

    /// The values with the most series; of equal ones at the end of the list the least by text.
    fn top(&self, tally: &Tally) -> Result<Vec<(String, u64)>, Interrupted> {
        let n_shown = self.request.top.min(tally.values.len());
        if n_shown == 0 {
            return Ok(Vec::new());
        }
        let mut counts: Vec<u64> = tally.values.values().map(|place| place.n_series).collect();
        let (_, least_shown, _) = counts.select_nth_unstable_by(n_shown - 1, |a, b| b.cmp(a));
        let least_shown = *least_shown;
        let mut places: Vec<Place> =
            tally.values.values().copied().filter(|place| place.n_series >= least_shown).collect();
        places.sort_unstable_by_key(|place| (place.shard, place.pair));
        let n_greater = places.iter().filter(|place| place.n_series > least_shown).count();
        let mut top = Vec::with_capacity(n_shown);
        let mut equal = BinaryHeap::new();
        let mut n_bytes = 0;
        self.texts(&places, |place, text| {
            if place.n_series > least_shown {
                n_bytes += text.len() as u64 + 32;
                top.push((text.to_string(), place.n_series));
            } else if equal.len() < n_shown - n_greater {
                n_bytes += text.len() as u64 + 32;
                equal.push(text.to_string());
            } else if equal.peek().is_some_and(|greatest: &String| text < greatest.as_str()) {
                equal.pop();
                equal.push(text.to_string());
            }
        })?;
        self.request.budget.bytes.take(n_bytes)?;
        top.extend(equal.into_iter().map(|text| (text, least_shown)));
        top.sort_by(most_first);
        Ok(top)
    }

    /// Calls `found` with the text of each place; they are sorted by shard.
    fn texts(&self, places: &[Place], mut found: impl FnMut(Place, &str)) -> Result<(), Interrupted> {
        for of_shard in places.chunk_by(|a, b| a.shard == b.shard) {
            for step in of_shard.chunks(TEXTS_PER_STEP) {
                self.check_deadline()?;
                let at = step[0].shard as usize;
                let state = self.shards[at].state.lock();
                if !state.head.knows(&self.chosen[at]) {
                    return Err(Interrupted::Rebuilt);
                }
                step.iter().for_each(|place| found(*place, state.head.value_of(place.pair)));
            }
        }
        Ok(())
    }

    fn check_deadline(&self) -> Result<(), SelectError> {
        check_deadline(self.clock, self.deadline)
    }
}

fn check_deadline(clock: &Clock, deadline: Option<Instant>) -> Result<(), SelectError> {
    match deadline {
        Some(deadline) if clock.instant() > deadline => Err(SelectError::Timeout),
        _ => Ok(()),
    }
}

/// A text with its length before it, as Prometheus keeps labels: the length takes a byte, or four from 255 on.
fn size(len: usize) -> u64 {
    len as u64 + if len < 255 { 1 } else { 4 }
}
