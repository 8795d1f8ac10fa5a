//! What answers rest on: whoever keeps one asks for its print before it is used again.

use std::hash::{DefaultHasher, Hash, Hasher};

use model::{TenantId, TimeRange};
use promql::{EvalOptions, Plan};
use wire::{Fingerprint, QueryError, QueryRequest, StandingRequest};

use crate::query::{Inner, query_timeout};

/// Where the samples lie that an answer needs, from its first step back and from its last step on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    back_ms: i64,
    on_ms: i64,
}

/// As much of a part as has settled.
#[derive(Debug, PartialEq, Eq)]
struct Settled {
    until_ms: i64,
    /// The times of the samples that are needed up to there.
    needs: TimeRange,
}

impl Inner {
    /// A print for each part, `None` where samples that it needs may be in a head from its first step on.
    pub(crate) async fn fingerprints(
        &self,
        tenant: &TenantId,
        request: &QueryRequest,
        parts: &[TimeRange],
    ) -> Result<Vec<Option<Fingerprint>>, QueryError> {
        let nothing = vec![None; parts.len()];
        let Some((reach, step_ms)) = self.reach(request).await?.zip(request.step_ms) else {
            return Ok(nothing);
        };
        let deadline = Some(self.clock.instant() + query_timeout(&self.limits.for_tenant(tenant)));
        // The head first, as in a select: what leaves it meanwhile is in the version that it names, or later.
        let asked = StandingRequest { deadline, ..StandingRequest::default() };
        let recent = self.source.recent.standing(tenant, &asked).await?;
        let settled: Vec<Option<Settled>> =
            parts.iter().map(|part| reach.settled(*part, step_ms, &recent.open)).collect();
        let ranges: Vec<TimeRange> = settled.iter().flatten().map(|part| part.needs).collect();
        if ranges.is_empty() {
            return Ok(nothing);
        }
        let asked = StandingRequest { ranges, min_table_version: recent.table_version, deadline };
        let stored = self.source.stored.standing(tenant, &asked).await?;
        let settings = self.settings(tenant);
        let mut prints = stored.prints.into_iter();
        let mut fingerprint = |part: Settled| {
            let mut hasher = DefaultHasher::new();
            let Settled { until_ms, needs } = part;
            (&settings, needs.start, needs.end, prints.next()?).hash(&mut hasher);
            Some(Fingerprint { until_ms, print: hasher.finish(), table_version: stored.table_version })
        };
        Ok(settled.into_iter().map(|part| part.and_then(&mut fingerprint)).collect())
    }

    /// How far a query reaches around its steps; `None` where that is not the same for all parts of its range, and for
    /// what cannot be planned.
    async fn reach(&self, request: &QueryRequest) -> Result<Option<Reach>, QueryError> {
        let lookback_ms = request.lookback_ms.unwrap_or(self.config.lookback_delta.millis());
        let subquery_step_ms = self.config.default_evaluation_interval.millis();
        let request = request.clone();
        let work = move || {
            let (start, end) = (request.start_ms, request.end_ms);
            let options = |start, end| EvalOptions {
                lookback_ms,
                subquery_step_ms,
                ..EvalOptions::range(start, end, request.step_ms.unwrap_or(1))
            };
            let of_first = hull(&request.query, &options(start, start))?;
            let of_all = hull(&request.query, &options(start, end))?;
            let back_ms = start.saturating_sub(of_first.start);
            let on_ms = of_first.end.saturating_sub(start);
            let is_same = of_all.start == of_first.start && of_all.end == end.saturating_add(on_ms);
            // The histogram before the first one tells whether that is a reset.
            is_same.then_some(Reach { back_ms: back_ms.saturating_add(lookback_ms), on_ms })
        };
        // Patterns take time to compile.
        runtime::blocking(work).await.map_err(QueryError::Internal)
    }

    /// Everything beside the data that an answer depends on.
    fn settings(&self, tenant: &TenantId) -> String {
        let limits = self.limits.for_tenant(tenant);
        let (lookback, interval) = (self.config.lookback_delta, self.config.default_evaluation_interval);
        format!("{limits:?} {lookback} {interval}")
    }
}

/// From the first to the last time that is needed for one of the selectors.
fn hull(query: &str, options: &EvalOptions) -> Option<TimeRange> {
    let plan = Plan::new(query, options).ok()?;
    let all = TimeRange::new(options.start_ms, options.end_ms);
    let joined = |a: TimeRange, b: TimeRange| TimeRange::new(a.start.min(b.start), a.end.max(b.end));
    Some(plan.selects().into_iter().map(|spec| spec.range).fold(all, joined))
}

impl Reach {
    /// What of a part needs nothing that is open: it ends before the first open time that a step of it needs.
    fn settled(self, part: TimeRange, step_ms: i64, open: &[TimeRange]) -> Option<Settled> {
        let start = part.start.saturating_sub(self.back_ms);
        let first_open = open.iter().filter(|open| open.end >= start).map(|open| open.start).min();
        let last_settled =
            first_open.map_or(i64::MAX, |first| first.saturating_sub(1).saturating_sub(self.on_ms));
        let end = part.end.min(last_settled);
        if end < part.start {
            return None;
        }
        // On the grid of the steps.
        let until_ms = part.start + (end - part.start) / step_ms.max(1) * step_ms.max(1);
        Some(Settled { until_ms, needs: TimeRange::new(start, until_ms.saturating_add(self.on_ms)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(reach: (i64, i64), part: (i64, i64), open: &[(i64, i64)]) -> Option<(i64, i64, i64)> {
        let open: Vec<TimeRange> = open.iter().map(|(start, end)| TimeRange::new(*start, *end)).collect();
        let reach = Reach { back_ms: reach.0, on_ms: reach.1 };
        let settled = reach.settled(TimeRange::new(part.0, part.1), 10, &open)?;
        Some((settled.until_ms, settled.needs.start, settled.needs.end))
    }

    #[test]
    fn a_part_has_settled_up_to_the_step_before_the_first_that_needs_something_open() {
        assert_eq!(settled((30, 0), (100, 200), &[]), Some((200, 70, 200)));
        assert_eq!(settled((30, 0), (100, 200), &[(151, 180)]), Some((150, 70, 150)));
        assert_eq!(settled((30, 0), (100, 200), &[(150, 180)]), Some((140, 70, 140)));
        assert_eq!(settled((30, 20), (100, 200), &[(151, 180)]), Some((130, 70, 150)), "looks ahead");
        assert_eq!(settled((30, 0), (100, 200), &[(0, 69), (201, 300)]), Some((200, 70, 200)));
        assert_eq!(settled((30, 0), (100, 200), &[(0, 70)]), None, "the first step needs it");
        assert_eq!(settled((30, 0), (100, 200), &[(i64::MIN, i64::MAX)]), None);
    }

    #[test]
    fn the_hull_is_of_all_selectors() {
        let range =
            hull("rate(x[1m]) - y offset 5m + z offset -2m", &EvalOptions::range(0, 1000, 10)).unwrap();
        assert_eq!((range.start, range.end), (-300_000 - 299_999, 1000 + 120_000));
        assert_eq!(hull("1 +", &EvalOptions::range(0, 1000, 10)), None);
    }
}
