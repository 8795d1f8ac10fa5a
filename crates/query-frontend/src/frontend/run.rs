//! A range query in parts, some of them kept from before.
//!
//! ```text
//!   query ─ split ─▶ parts ─ look up, ask for prints ─▶ kept slices ──────────────┐
//!                                    │                                            ├─ merge ─▶ answer
//!                                    └─▶ pieces to evaluate ─▶ querier ─▶ results ┘
//!                                                                  └─ prints unchanged? keep
//! ```
//!
//! A kept answer is used only if the querier, asked now, names the print of the data that it was kept with; and an
//! answer is kept only if the print after its evaluation is that before. So it does not matter what changed the data,
//! or when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use model::{MatrixSeries, TenantId, TenantIds, TimeRange, Value};
use wire::{Fingerprint, Held, Meter, QueryError, QueryRequest, QueryResult, QueryStats, SelectBudget};

use super::exact;
use super::flight::FlightKey;
use super::lanes::{PARTS_AT_ONCE, Place};
use super::merge::{self, Slice};
use super::results::{Extent, Key};
use super::steps::{self, Steps};
use super::{Inner, Work};

/// A query on its way, under the limits of its tenants.
pub(super) struct Run {
    pub(super) inner: Arc<Inner>,
    pub(super) tenants: TenantIds,
    pub(super) request: QueryRequest,
    pub(super) deadline: Option<Instant>,
    pub(super) is_uncached: bool,
    pub(super) work: Work,
}

/// An interval's part of the query.
struct Part {
    number: i64,
    steps: Steps,
    /// What was kept of it and is still good.
    kept: Option<Arc<Extent>>,
    /// Up to where its answer can be kept, and what it rests on.
    keepable: Option<Keepable>,
}

#[derive(Debug, Clone, Copy)]
struct Keepable {
    steps: Steps,
    print: u64,
    table_version: Option<u64>,
}

/// Steps that are to be evaluated for a part.
#[derive(Debug, Clone, Copy)]
struct Piece {
    part: usize,
    steps: Steps,
    /// Whether it becomes part of what is kept; then it is evaluated at this version of the table or a later one.
    keepable: Option<Keepable>,
}

/// Longer queries are evaluated as they are: no dashboard has them, and to look at them takes time.
const QUERY_BYTES_MAX: usize = 16 << 10;

type Evaluated = (Piece, Arc<QueryResult>);

impl Run {
    pub(super) async fn result(&mut self) -> Result<QueryResult, QueryError> {
        let Some(steps) = self.steps() else { return self.whole().await };
        let tenant = self.cached_tenant(steps);
        // Most queries are of the last hours: nothing to split, nothing to keep, and nothing to find out about them.
        let configured_ms = self.inner.config.split_queries_by_interval.millis();
        if tenant.is_none() && steps.first.div_euclid(configured_ms) == steps.last.div_euclid(configured_ms) {
            return self.whole().await;
        }
        let Some(interval_ms) = self.interval_ms(steps).await? else { return self.whole().await };
        let parts = steps::split(steps, interval_ms).into_iter();
        let mut parts: Vec<Part> =
            parts.map(|(number, steps)| Part { number, steps, kept: None, keepable: None }).collect();
        if let Some(tenant) = &tenant {
            self.look_up(&mut parts, tenant, interval_ms).await;
        }
        let pieces = pieces(&parts);
        self.work.n_parts = parts.len() as u64;
        self.work.n_hits = parts.iter().filter(|part| part.kept.is_some()).count() as u64;
        if pieces.len() < 2 && self.work.n_hits == 0 && tenant.is_none() {
            return self.whole().await;
        }
        let evaluated = self.evaluate(pieces).await?;
        let Some(mut result) = merged(&parts, &evaluated) else {
            self.inner.metrics.whole_after_all.inc();
            return self.whole().await;
        };
        result.held = self.held(&result)?;
        if let Some(tenant) = &tenant {
            self.keep(&parts, &evaluated, tenant, interval_ms).await;
        }
        Ok(result)
    }

    /// The steps of a query that may be looked at.
    fn steps(&self) -> Option<Steps> {
        let QueryRequest { start_ms, end_ms, step_ms, .. } = self.request;
        let is_on = self.inner.config.split_queries_by_interval.millis() > 0;
        let may_split = is_on && self.request.query.len() <= QUERY_BYTES_MAX;
        step_ms.filter(|_| may_split).and_then(|step_ms| Steps::new(start_ms, end_ms, step_ms))
    }

    /// How long the parts are in which the steps may be evaluated.
    async fn interval_ms(&self, steps: Steps) -> Result<Option<i64>, QueryError> {
        let Some(reach_ms) = self.reach_ms().await? else { return Ok(None) };
        // What is too long is refused as a whole: each part is short enough.
        let length_ms = self.request.end_ms.saturating_sub(steps.first).saturating_add(reach_ms);
        let max_length_ms = self.limits().map(|limits| limits.max_query_length.millis());
        if max_length_ms.filter(|max| *max > 0).min().is_some_and(|max| length_ms > max) {
            return Ok(None);
        }
        let configured_ms = self.inner.config.split_queries_by_interval.millis();
        Ok(Some(steps::interval_of(configured_ms, steps.step, reach_ms)))
    }

    async fn reach_ms(&self) -> Result<Option<i64>, QueryError> {
        let has_patterns = self.request.query.contains("=~") || self.request.query.contains("!~");
        if !has_patterns {
            return Ok(exact::reach_ms(&self.request));
        }
        // Patterns take time to compile.
        let request = self.request.clone();
        runtime::blocking(move || exact::reach_ms(&request)).await.map_err(QueryError::Internal)
    }

    fn limits(&self) -> impl Iterator<Item = Arc<limits::Limits>> {
        self.tenants.all().iter().map(|tenant| self.inner.limits.for_tenant(tenant))
    }

    /// Whose cache the query may use.
    fn cached_tenant(&self, steps: Steps) -> Option<TenantId> {
        let inner = &self.inner;
        // Of several tenants the versions of the tables are not one.
        let tenant = self.tenants.only()?;
        let limits = inner.limits.for_tenant(tenant);
        let is_aligned = steps.offset() == 0;
        let is_wanted = inner.results.is_on()
            && limits.cache_results
            && (is_aligned || limits.cache_unaligned_requests)
            && !self.is_uncached
            // Samples by step are counted by evaluating.
            && !self.request.stats_per_step;
        if !is_wanted || inner.horizons.is_recent(tenant, steps.first, inner.clock.now_ms()) {
            inner.results.metrics.skipped.inc();
            return None;
        }
        Some(tenant.clone())
    }

    /// Finds what was kept of the parts and is still good, and what of them can be kept.
    async fn look_up(&self, parts: &mut [Part], tenant: &TenantId, interval_ms: i64) {
        let inner = &self.inner;
        let freshness_ms = inner.limits.for_tenant(tenant).max_cache_freshness.millis();
        let newest_ms = inner.clock.now_ms().saturating_sub(freshness_ms);
        let mut found = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let Some(wanted) = part.steps.within(part.steps.first, newest_ms) else { continue };
            inner.results.metrics.requests.inc();
            let kept = inner.results.get(&self.key(part, tenant, interval_ms));
            found.push((at, wanted, kept.filter(|kept| kept.serves(wanted))));
        }
        // By part: the steps that are kept, those that could be together with these, and without them.
        let mut asked = Vec::with_capacity(3 * found.len());
        for (_, wanted, kept) in &found {
            let kept = kept.as_ref().map_or(*wanted, |kept| kept.steps);
            asked.extend([kept, wanted.joined(kept), *wanted]);
        }
        let Ok(prints) = self.prints(tenant, &asked).await else { return };
        for ((at, wanted, kept), prints) in found.into_iter().zip(prints.chunks(3)) {
            let [of_kept, of_joined, of_wanted] = prints else { continue };
            let was_kept = kept.is_some();
            let kept = kept.filter(|kept| is_print_of(*of_kept, kept.steps, kept.print));
            inner.results.metrics.outdated.inc_by(u64::from(was_kept && kept.is_none()));
            inner.results.metrics.hits.inc_by(u64::from(kept.is_some()));
            let (steps, print) = match &kept {
                Some(kept) => (wanted.joined(kept.steps), of_joined),
                None => (wanted, of_wanted),
            };
            let keepable = print.and_then(|print| keepable(steps, print));
            // What is kept stays as it is where something before it may still change.
            parts[at].keepable = keepable
                .filter(|keepable| kept.as_ref().is_none_or(|kept| kept.steps.are_in(keepable.steps)));
            parts[at].kept = kept;
        }
        if let Some(last) = parts.last() {
            let settled_to = last.keepable.map(|keepable| keepable.steps.last);
            inner.horizons.learn(tenant, last.steps, settled_to, inner.clock.now_ms());
        }
    }

    async fn prints(
        &self,
        tenant: &TenantId,
        asked: &[Steps],
    ) -> Result<Vec<Option<Fingerprint>>, QueryError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let ranges: Vec<TimeRange> =
            asked.iter().map(|steps| TimeRange::new(steps.first, steps.last)).collect();
        let asking = self.inner.querier.fingerprints(tenant, &self.request, &ranges);
        let prints = self.in_time(asking).await?;
        match prints.len() == asked.len() {
            true => Ok(prints),
            false => Err(QueryError::Internal(format!("{} prints of {} ranges", prints.len(), asked.len()))),
        }
    }

    /// Evaluates the pieces, as many at a time as the tenants may.
    async fn evaluate(&mut self, pieces: Vec<Piece>) -> Result<Vec<Evaluated>, QueryError> {
        self.inner.metrics.split.inc_by(u64::from(pieces.len() > 1));
        let mut evaluated = Vec::with_capacity(pieces.len());
        let mut pieces = VecDeque::from(pieces);
        let mut running = FuturesUnordered::new();
        // Where the queue has no room for several pieces of a query it may have some for one after the other.
        let mut is_one_by_one = false;
        loop {
            while running.len() < PARTS_AT_ONCE && !pieces.is_empty() {
                let place = match running.is_empty() {
                    true => None,
                    false if is_one_by_one => break,
                    false => match self.inner.lanes.place(&self.tenants) {
                        Some(place) => Some(place),
                        None => break,
                    },
                };
                let Some(piece) = pieces.pop_front() else { break };
                running.push(self.evaluate_piece(piece, place));
            }
            match running.next().await {
                Some((piece, false, Err(QueryError::TooManyRequests(_)))) => {
                    is_one_by_one = true;
                    pieces.push_back(piece);
                }
                Some((piece, _, result)) => {
                    let result = result?;
                    series_of(&result)?;
                    evaluated.push((piece, result));
                }
                None => break,
            }
        }
        drop(running);
        self.work.n_evaluated += evaluated.len() as u64;
        self.inner.metrics.parts.inc_by(evaluated.len() as u64);
        evaluated.sort_by_key(|(piece, _)| piece.steps.first);
        Ok(evaluated)
    }

    /// Evaluates a piece; says whether that was the only one of the query when it began, which needs no place.
    async fn evaluate_piece(
        &self,
        piece: Piece,
        place: Option<Place>,
    ) -> (Piece, bool, Result<Arc<QueryResult>, QueryError>) {
        let is_first = place.is_none();
        let Steps { first, last, .. } = piece.steps;
        let request = QueryRequest {
            start_ms: first,
            end_ms: last,
            timeout_ms: self.left_ms(),
            ..self.request.clone()
        };
        let table_version = piece.keepable.and_then(|keepable| keepable.table_version);
        let start = || {
            let (inner, tenants, request) = (Arc::clone(&self.inner), self.tenants.clone(), request.clone());
            async move { inner.querier.query_from(&tenants, &request, table_version).await }
        };
        let result = match (piece.keepable, self.tenants.only()) {
            (Some(keepable), Some(tenant)) => {
                let key = FlightKey {
                    tenant: tenant.clone(),
                    query: self.request.query.as_str().into(),
                    lookback_ms: self.request.lookback_ms,
                    steps: piece.steps,
                    print: keepable.print,
                };
                self.in_time(self.inner.flights.join(key, start)).await
            }
            _ => start().await.map(Arc::new),
        };
        (piece, is_first, result)
    }

    /// Whoever joins an evaluation waits for it no longer than for its own.
    async fn in_time<T>(
        &self,
        waiting: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        match self.left() {
            // The querier keeps the time too, and knows better what it was spent on.
            Some(left) => runtime::timeout(left + Duration::from_secs(1), waiting)
                .await
                .unwrap_or(Err(QueryError::Timeout("query execution"))),
            None => waiting.await,
        }
    }

    /// Keeps what was evaluated, together with what was kept, if the data are still those of before.
    async fn keep(&self, parts: &[Part], evaluated: &[Evaluated], tenant: &TenantId, interval_ms: i64) {
        let mut extents = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let Some(keepable) = part.keepable else { continue };
            let pieces: Vec<&Evaluated> =
                evaluated.iter().filter(|(piece, _)| piece.part == at && piece.keepable.is_some()).collect();
            if !pieces.is_empty() {
                extents.extend(extent(part, keepable, &pieces).map(|extent| (part, extent)));
            }
        }
        let asked: Vec<Steps> = extents.iter().map(|(_, extent)| extent.steps).collect();
        let Ok(prints) = self.prints(tenant, &asked).await else { return };
        for ((part, extent), print) in extents.into_iter().zip(prints) {
            if is_print_of(print, extent.steps, extent.print) {
                self.inner.results.put(self.key(part, tenant, interval_ms), extent);
            }
        }
    }

    /// The memory of the merged result.
    fn held(&self, result: &QueryResult) -> Result<Held, QueryError> {
        let budget = SelectBudget {
            series: Meter::new("max_series_per_query", 0),
            samples: Meter::new("max_samples_per_query", 0),
            bytes: Meter::of_memory("max_bytes_per_query", 0, self.inner.memory.clone()),
            deadline: None,
        };
        budget.bytes.take(merge::bytes_of(series_of(result)?))?;
        Ok(Held::of(Arc::new(budget)))
    }

    /// The query as it came, with what is left of its time if some of that is used up.
    async fn whole(&mut self) -> Result<QueryResult, QueryError> {
        let mut request = self.request.clone();
        if self.work.n_evaluated > 0 {
            request.timeout_ms = self.left_ms();
        }
        self.work.n_evaluated += 1;
        self.inner.querier.query(&self.tenants, &request).await
    }

    /// What is left of the query's time.
    fn left(&self) -> Option<Duration> {
        Some(self.deadline?.saturating_duration_since(self.inner.clock.instant()))
    }

    fn left_ms(&self) -> Option<u64> {
        self.left().map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    fn key(&self, part: &Part, tenant: &TenantId, interval_ms: i64) -> Key {
        Key {
            tenant: tenant.clone(),
            query: self.request.query.as_str().into(),
            lookback_ms: self.request.lookback_ms,
            step: part.steps.step,
            offset: part.steps.offset(),
            interval_ms,
            number: part.number,
        }
    }
}

/// What has to be evaluated of the parts: what is neither kept nor to be kept separately from what is to be kept.
fn pieces(parts: &[Part]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let mut add = |steps: Option<Steps>, keepable| {
            pieces.extend(steps.map(|steps| Piece { part: at, steps, keepable }));
        };
        let settled = part.keepable.map(|keepable| keepable.steps);
        let mut gap = |gap: Option<Steps>| match (gap, settled) {
            (Some(gap), Some(settled)) => {
                add(gap.within(settled.first, settled.last), part.keepable);
                add(gap.after(settled), None);
            }
            (gap, _) => add(gap, None),
        };
        match &part.kept {
            Some(kept) => {
                gap(part.steps.before(kept.steps));
                gap(part.steps.after(kept.steps));
            }
            None => gap(Some(part.steps)),
        }
    }
    pieces
}

/// As far as the answer to steps can be kept.
fn keepable(steps: Steps, print: Fingerprint) -> Option<Keepable> {
    let steps = steps.within(steps.first, print.until_ms)?;
    Some(Keepable { steps, print: print.print, table_version: print.table_version })
}

/// Whether the data of these steps have this print.
fn is_print_of(named: Option<Fingerprint>, steps: Steps, print: u64) -> bool {
    named.is_some_and(|named| named.until_ms >= steps.last && named.print == print)
}

/// What is kept of a part from now on; `None` where that says something that only a whole evaluation knows.
fn extent(part: &Part, keepable: Keepable, pieces: &[&Evaluated]) -> Option<Extent> {
    let mut slices: Vec<Slice<'_>> =
        pieces.iter().filter_map(|(piece, result)| slice(*piece, result)).collect();
    slices.extend(part.kept.as_ref().map(|kept| kept.slice(kept.steps)));
    slices.sort_by_key(|slice| slice.steps.first);
    let warnings = merge::annotations(slices.iter().map(|slice| slice.warnings))?;
    let infos = merge::annotations(slices.iter().map(|slice| slice.infos))?;
    let series = merge::series(&slices);
    Some(Extent { steps: keepable.steps, print: keepable.print, series, warnings, infos })
}

/// The answer of kept slices and results; `None` when only an evaluation of the whole knows what there is to say.
fn merged(parts: &[Part], evaluated: &[Evaluated]) -> Option<QueryResult> {
    let mut slices: Vec<Slice<'_>> =
        evaluated.iter().filter_map(|(piece, result)| slice(*piece, result)).collect();
    for part in parts {
        if let Some(kept) = &part.kept
            && let Some(steps) = kept.steps.within(part.steps.first, part.steps.last)
        {
            slices.push(kept.slice(steps));
        }
    }
    slices.sort_by_key(|slice| slice.steps.first);
    let warnings = merge::annotations(slices.iter().map(|slice| slice.warnings))?;
    let infos = merge::annotations(slices.iter().map(|slice| slice.infos))?;
    let mut stats = QueryStats::default();
    evaluated.iter().for_each(|(_, result)| merge::add_stats(&mut stats, result));
    let value = Value::Matrix(merge::series(&slices));
    Some(QueryResult { value, warnings, infos, stats, held: Held::default() })
}

fn slice(piece: Piece, result: &QueryResult) -> Option<Slice<'_>> {
    let series = series_of(result).ok()?;
    Some(Slice { series, warnings: &result.warnings, infos: &result.infos, steps: piece.steps })
}

fn series_of(result: &QueryResult) -> Result<&[MatrixSeries], QueryError> {
    match &result.value {
        Value::Matrix(series) => Ok(series),
        _ => Err(QueryError::Internal("a range query has a value that is no matrix".to_string())),
    }
}
