//! What answers rest on: whoever keeps one asks for its print before it is used again.

use std::hash::{DefaultHasher, Hash, Hasher};

use model::{TenantId, TimeRange};
use promql::{EvalOptions, Plan};
use wire::{Fingerprint, QueryError, QueryRequest, StandingRequest};

use crate::query::Inner;

/// How often an end is taken back to before a range that is open.
const ATTEMPTS: usize = 16;

/// As much of a part as can be told about.
struct Settled {
    /// The place of the part among those asked about.
    at: usize,
    until_ms: i64,
    /// The samples that are needed up to there.
    needs: Vec<TimeRange>,
}

impl Inner {
    /// A print for each part, `None` where samples that it needs may be in a head from its first step on.
    pub(crate) async fn fingerprints(
        &self,
        tenant: &TenantId,
        request: &QueryRequest,
        parts: &[TimeRange],
    ) -> Result<Vec<Option<Fingerprint>>, QueryError> {
        let deadline = Some(self.deadline_of(tenant));
        // The head first, as in a select: what leaves it meanwhile is in the version that it names, or later.
        let asked = StandingRequest { deadline, ..StandingRequest::default() };
        let recent = self.source.recent.standing(tenant, &asked).await?;
        let mut fingerprints = vec![None; parts.len()];
        let mut settled: Vec<Settled> = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let part = self.settled(request, *part, &recent.open);
            settled.extend(part.map(|part| Settled { at, ..part }));
        }
        let ranges: Vec<TimeRange> = settled.iter().flat_map(|part| part.needs.iter().copied()).collect();
        let asked = StandingRequest { ranges, min_table_version: recent.table_version, deadline };
        let stored = self.source.stored.standing(tenant, &asked).await?;
        let table_version = stored.table_version;
        let mut prints = stored.prints.into_iter();
        let settings = self.settings(tenant);
        for part in settled {
            let mut hasher = DefaultHasher::new();
            settings.hash(&mut hasher);
            for range in &part.needs {
                let Some(print) = prints.next() else { return Err(too_few()) };
                (range.start, range.end, print).hash(&mut hasher);
            }
            let print = hasher.finish();
            fingerprints[part.at] = Some(Fingerprint { until_ms: part.until_ms, print, table_version });
        }
        Ok(fingerprints)
    }

    /// What of a part needs nothing that is open. Its end is taken back to before the first thing in the way, as often
    /// as that helps.
    fn settled(&self, request: &QueryRequest, part: TimeRange, open: &[TimeRange]) -> Option<Settled> {
        let step_ms = request.step_ms.filter(|step| *step > 0)?;
        let mut until_ms = part.end;
        for _ in 0..ATTEMPTS {
            if until_ms < part.start {
                return None;
            }
            let needs = self.needs(request, TimeRange::new(part.start, until_ms))?;
            let overlap = needs.iter().filter_map(|range| overlap_ms(*range, open)).max();
            let Some(overlap) = overlap else { return Some(Settled { at: 0, until_ms, needs }) };
            // On the grid of the steps.
            let n_steps = until_ms.saturating_sub(overlap).checked_sub(part.start)?.div_euclid(step_ms);
            until_ms = part.start.checked_add(n_steps.checked_mul(step_ms)?)?;
        }
        None
    }

    /// The times of the samples that an evaluation of a part looks at.
    fn needs(&self, request: &QueryRequest, part: TimeRange) -> Option<Vec<TimeRange>> {
        let lookback_ms = request.lookback_ms.unwrap_or(self.config.lookback_delta.millis());
        let options = EvalOptions {
            lookback_ms,
            subquery_step_ms: self.config.default_evaluation_interval.millis(),
            ..EvalOptions::range(part.start, part.end, request.step_ms?)
        };
        // What does not parse is nothing to keep an answer of.
        let plan = Plan::new(&request.query, &options).ok()?;
        // The histogram before the first one tells whether that is a reset.
        let earlier = |range: TimeRange| TimeRange::new(range.start.saturating_sub(lookback_ms), range.end);
        Some(plan.selects().into_iter().map(|spec| earlier(spec.range)).collect())
    }

    /// Everything beside the data that an answer depends on.
    fn settings(&self, tenant: &TenantId) -> String {
        let limits = self.limits.for_tenant(tenant);
        let (lookback, interval) = (self.config.lookback_delta, self.config.default_evaluation_interval);
        format!("{limits:?} {lookback} {interval}")
    }
}

/// By how much a range reaches over the first millisecond of the open range that it meets first.
fn overlap_ms(range: TimeRange, open: &[TimeRange]) -> Option<i64> {
    let met = open.iter().filter(|open| open.start <= range.end && open.end >= range.start);
    met.map(|open| range.end.saturating_sub(open.start).saturating_add(1)).max()
}

fn too_few() -> QueryError {
    QueryError::Internal("the table has fewer prints than ranges".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_reaches_over_what_is_open_from_its_first_millisecond_on() {
        let open = [TimeRange::new(100, 199), TimeRange::new(500, 599)];
        assert_eq!(overlap_ms(TimeRange::new(0, 99), &open), None);
        assert_eq!(overlap_ms(TimeRange::new(0, 100), &open), Some(1));
        assert_eq!(overlap_ms(TimeRange::new(200, 550), &open), Some(51));
        assert_eq!(overlap_ms(TimeRange::new(0, 550), &open), Some(451));
        assert_eq!(overlap_ms(TimeRange::new(i64::MIN, i64::MAX), &open), Some(i64::MAX));
    }
}
