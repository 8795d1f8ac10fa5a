//! Series as they are, for those who evaluate or keep them elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use limits::{Limits, PromDuration};
use model::{SeriesData, TenantIds, TimeRange};
use wire::{
    Held, Meter, Projection, QueryError, Raw, RawRequest, SelectBudget, SelectError, SelectRequest,
    SelectStats,
};

use super::{Inner, query_timeout};
use crate::federation::{self, Federation};

impl Inner {
    /// The series that match, under the limits of a query and in its turn.
    pub(super) async fn raw(
        self: &Arc<Inner>,
        tenants: &TenantIds,
        request: &RawRequest,
    ) -> Result<Raw, QueryError> {
        self.federation(tenants)?;
        let limits = federation::strictest(&self.limits, tenants);
        check_range(request.range, &limits)?;
        let timeout = query_timeout(&limits);
        let deadline = self.clock.instant() + timeout;
        let (_turn, _waited) = self.turn(tenants, timeout).await?;
        let budget = self.raw_budget(tenants, request, &limits, deadline);
        let selecting = self.select_raw(tenants, request, &budget);
        let Some(selected) = runtime::timeout(timeout, selecting).await else {
            return Err(QueryError::Timeout("query execution"));
        };
        match selected {
            Ok((series, cost)) => {
                self.metrics.count(&cost);
                Ok(Raw::Series(series, Held::of(budget)))
            }
            Err(QueryError::Select(SelectError::LimitExceeded { name, .. }))
                if request.max_samples > 0 && is_of_size(name) =>
            {
                Ok(Raw::TooMany)
            }
            Err(e) => Err(e),
        }
    }

    async fn select_raw(
        self: &Arc<Inner>,
        tenants: &TenantIds,
        request: &RawRequest,
        budget: &Arc<SelectBudget>,
    ) -> Result<(Vec<SeriesData>, SelectStats), QueryError> {
        let (inner, owned) = (Arc::clone(self), tenants.clone());
        let (request, budget) = (request.clone(), Arc::clone(budget));
        let selecting = async move {
            let federation = Federation { source: &inner.source, tenants: &owned };
            Ok(select_any(federation, &request, &budget).await?)
        };
        self.apart(tenants, selecting).await
    }

    /// A query's budget, with the samples that the caller wants at most where these are fewer.
    fn raw_budget(
        &self,
        tenants: &TenantIds,
        request: &RawRequest,
        limits: &Limits,
        deadline: Instant,
    ) -> Arc<SelectBudget> {
        let of_query = limits.max_samples_per_query;
        let samples = match request.max_samples {
            0 => Meter::new("max_samples_per_query", of_query),
            wanted if of_query > 0 && of_query < wanted => Meter::new("max_samples_per_query", of_query),
            wanted => Meter::new(RawRequest::SAMPLES_MAX, wanted),
        };
        let bytes = self.bytes(tenants, limits);
        let series = Meter::new("max_series_per_query", limits.max_series_per_query);
        Arc::new(SelectBudget { series, samples, bytes, deadline: Some(deadline) })
    }
}

/// Whether fewer series at a time stay within the limit of that name.
fn is_of_size(limit: &str) -> bool {
    [RawRequest::SAMPLES_MAX, "max_samples_per_query", "max_bytes_per_query"].contains(&limit)
}

/// The series that pass one of the selectors, each once.
async fn select_any(
    federation: Federation<'_>,
    request: &RawRequest,
    budget: &Arc<SelectBudget>,
) -> Result<(Vec<SeriesData>, SelectStats), SelectError> {
    let (mut all, mut cost) = (Vec::new(), SelectStats::default());
    for matchers in &request.selectors {
        let select = SelectRequest {
            matchers: matchers.clone(),
            range: request.range,
            within: request.within.clone(),
            projection: Projection::All,
            budget: Arc::clone(budget),
            min_table_version: None,
        };
        let (series, stats) = federation.select(select).await?;
        cost.add(stats);
        all.extend(series);
    }
    if request.selectors.len() > 1 {
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all.dedup_by(|a, b| a.labels == b.labels);
    }
    all.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
    Ok((all, cost))
}

/// How long a range may be asked for is bounded as it is for queries.
fn check_range(range: TimeRange, limits: &Limits) -> Result<(), QueryError> {
    let (length, limit) = (range.end.saturating_sub(range.start), limits.max_query_length);
    if limit.millis() > 0 && length > limit.millis() {
        let length = PromDuration(Duration::from_millis(length.unsigned_abs()));
        return Err(QueryError::Execution(format!(
            "the request is for samples of {length}, which exceeds the limit max_query_length of {limit}"
        )));
    }
    Ok(())
}
