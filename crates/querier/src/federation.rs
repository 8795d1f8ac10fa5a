use std::sync::Arc;
use std::time::Instant;

use futures::stream::{StreamExt, TryStreamExt};
use limits::{Limits, LimitsHandle, PromDuration};
use model::{ExemplarSeries, Labels, Matcher, MatcherOp, Metadata, SeriesData, TenantId, TenantIds};
use wire::{
    HeadStats, HeadStatsRequest, LabelsRequest, MetadataRequest, Projection, SelectError, SelectRequest,
    SelectStats, SeriesRange, StoredBlock,
};

use crate::source::Source;

/// The label that tells the tenants of a query over several apart; Mimir's name for it.
pub(crate) const TENANT_LABEL: &str = "__tenant_id__";
/// What a label of that name is called that a series has itself.
pub(crate) const ORIGINAL_TENANT_LABEL: &str = "original___tenant_id__";

/// A name behind all others.
const LAST_NAME: &str = "\u{10FFFF}";

/// Tenants that are asked at the same time for one query.
const MAX_CONCURRENT: usize = 8;

/// The series of one or several tenants. Those of several carry the tenant's label, and matchers on it choose the
/// tenants; those of one are as they are.
#[derive(Clone, Copy)]
pub(crate) struct Federation<'a> {
    pub(crate) source: &'a Source,
    pub(crate) tenants: &'a TenantIds,
}

impl Federation<'_> {
    /// The series that match, sorted by labels unless one tenant is asked with a projection.
    pub(crate) async fn select(
        &self,
        request: SelectRequest,
    ) -> Result<(Vec<SeriesData>, SelectStats), SelectError> {
        if let Some(tenant) = self.tenants.only() {
            return self.source.select(tenant, request).await;
        }
        let mut selects = Vec::new();
        for tenant in self.tenants.all() {
            let Some(matchers) = chosen(tenant, &request.matchers) else { continue };
            for (more, within) in own_ranges(tenant, request.within.as_ref()) {
                let matchers = matchers.iter().cloned().chain(more).collect();
                // The tenant's label is added to whole ones.
                let projection = Projection::All;
                let request = SelectRequest { matchers, within, projection, ..request.clone() };
                selects.push(select_of(self.source.clone(), tenant.clone(), request));
            }
        }
        let parts: Vec<_> = futures::stream::iter(selects).buffered(MAX_CONCURRENT).try_collect().await?;
        let (mut all, mut cost) = (Vec::new(), SelectStats::default());
        for (series, stats) in parts {
            cost.add(stats);
            all.extend(series);
        }
        all.retain(|one| request.within.as_ref().is_none_or(|within| within.contains(one.labels.run())));
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok((all, cost))
    }

    pub(crate) async fn series(&self, request: LabelsRequest) -> Result<Vec<Labels>, SelectError> {
        if let Some(tenant) = self.tenants.only() {
            return self.source.series(tenant, request).await;
        }
        let mut all = Vec::new();
        for (tenant, request) in self.asked(&request) {
            let series = self.source.series(tenant, request).await?;
            all.extend(series.iter().map(|labels| labelled(labels, tenant)));
        }
        all.sort();
        Ok(all)
    }

    pub(crate) async fn label_names(&self, request: LabelsRequest) -> Result<Vec<String>, SelectError> {
        if let Some(tenant) = self.tenants.only() {
            return self.source.label_names(tenant, request).await;
        }
        let mut all = Vec::new();
        for (tenant, request) in self.asked(&request) {
            let names = self.source.label_names(tenant, request).await?;
            if !names.is_empty() {
                all.push(TENANT_LABEL.to_string());
            }
            let renamed =
                |name: String| if name == TENANT_LABEL { ORIGINAL_TENANT_LABEL.to_string() } else { name };
            all.extend(names.into_iter().map(renamed));
        }
        Ok(sorted(all))
    }

    pub(crate) async fn label_values(
        &self,
        name: &str,
        request: LabelsRequest,
    ) -> Result<Vec<String>, SelectError> {
        if let Some(tenant) = self.tenants.only() {
            return self.source.label_values(tenant, name, request).await;
        }
        let mut all = Vec::new();
        for (tenant, request) in self.asked(&request) {
            match name {
                // A tenant counts when it has a series that matches.
                TENANT_LABEL => {
                    let request = LabelsRequest { limit: 1, ..request };
                    if !self.source.label_names(tenant, request).await?.is_empty() {
                        all.push(tenant.to_string());
                    }
                }
                ORIGINAL_TENANT_LABEL => {
                    all.extend(self.source.label_values(tenant, TENANT_LABEL, request).await?)
                }
                _ => all.extend(self.source.label_values(tenant, name, request).await?),
            }
        }
        Ok(sorted(all))
    }

    pub(crate) async fn exemplars(&self, request: LabelsRequest) -> Result<Vec<ExemplarSeries>, SelectError> {
        if let Some(tenant) = self.tenants.only() {
            return self.source.exemplars(tenant, request).await;
        }
        let mut all = Vec::new();
        for (tenant, request) in self.asked(&request) {
            let series = self.source.exemplars(tenant, request).await?;
            let labelled =
                |one: ExemplarSeries| ExemplarSeries { labels: labelled(&one.labels, tenant), ..one };
            all.extend(series.into_iter().map(labelled));
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }

    /// The descriptions of all tenants, each once: they carry no labels.
    pub(crate) async fn metadata(&self, request: MetadataRequest) -> Result<Vec<Metadata>, SelectError> {
        if let Some(tenant) = self.tenants.only() {
            return self.source.metadata(tenant, request).await;
        }
        let mut all: Vec<Metadata> = Vec::new();
        for tenant in self.tenants.all() {
            let described = self.source.metadata(tenant, request.clone()).await?;
            all.extend(described);
        }
        // Stable: of one family, a tenant's newest description stays before its older ones.
        all.sort_by(|a, b| a.family.cmp(&b.family));
        let mut first_of_family = 0;
        let mut kept: Vec<Metadata> = Vec::with_capacity(all.len());
        for one in all {
            if kept.get(first_of_family).is_some_and(|first| first.family != one.family) {
                first_of_family = kept.len();
            }
            let is_known = kept.iter().skip(first_of_family).any(|known| *known == one);
            if !is_known {
                kept.push(one);
            }
        }
        Ok(kept)
    }

    /// The figures of all tenants added up, labels and all.
    pub(crate) async fn head_stats(&self, request: HeadStatsRequest) -> Result<HeadStats, SelectError> {
        let mut all = HeadStats::default();
        for tenant in self.tenants.all() {
            all.absorb(self.source.head_stats(tenant, &request).await?);
        }
        Ok(all)
    }

    /// The files of the tables of one tenant after the other.
    pub(crate) async fn blocks(&self, deadline: Instant) -> Result<Vec<StoredBlock>, SelectError> {
        let mut all = Vec::new();
        for tenant in self.tenants.all() {
            all.extend(self.source.blocks(tenant, deadline).await?);
        }
        Ok(all)
    }

    /// The tenants that a request concerns, each with the request as it is put to that tenant.
    fn asked(&self, request: &LabelsRequest) -> Vec<(&TenantId, LabelsRequest)> {
        let mut asked = Vec::new();
        for tenant in self.tenants.all() {
            let chosen = request.selectors.iter().filter_map(|matchers| chosen(tenant, matchers));
            let selectors: Vec<Vec<Matcher>> = chosen.collect();
            if !selectors.is_empty() || request.selectors.is_empty() {
                asked.push((tenant, LabelsRequest { selectors, ..request.clone() }));
            }
        }
        asked
    }
}

/// One tenant's series, with its label.
async fn select_of(
    source: Source,
    tenant: TenantId,
    request: SelectRequest,
) -> Result<(Vec<SeriesData>, SelectStats), SelectError> {
    let (mut series, stats) = source.select(&tenant, request).await?;
    for one in &mut series {
        one.labels = labelled(&one.labels, &tenant);
    }
    Ok((series, stats))
}

/// What is left of the matchers for this tenant; `None` when they choose others.
fn chosen(tenant: &TenantId, matchers: &[Matcher]) -> Option<Vec<Matcher>> {
    let mut left = Vec::with_capacity(matchers.len());
    for matcher in matchers {
        match matcher.name.as_str() {
            TENANT_LABEL if matcher.matches(tenant.as_str()) => {}
            TENANT_LABEL => return None,
            ORIGINAL_TENANT_LABEL => {
                let mut renamed = matcher.clone();
                renamed.name = TENANT_LABEL.to_string();
                left.push(renamed);
            }
            _ => left.push(matcher.clone()),
        }
    }
    Some(left)
}

/// The ranges in which a tenant's own series lie that are within a range once they are labelled, with a matcher that
/// goes with each. A range may have more than is wanted.
fn own_ranges(
    tenant: &TenantId,
    within: Option<&SeriesRange>,
) -> Vec<(Option<Matcher>, Option<SeriesRange>)> {
    let Some(within) = within else { return vec![(None, None)] };
    let has_label = |op| Matcher::new(TENANT_LABEL, op, "").ok();
    // To label series keeps their order but where one has such a label itself, which comes to stand elsewhere.
    vec![
        (has_label(MatcherOp::Equal), Some(own_range(tenant, within))),
        (has_label(MatcherOp::NotEqual), None),
    ]
}

fn own_range(tenant: &TenantId, within: &SeriesRange) -> SeriesRange {
    let before = |labels: &Labels| labels.without(|name| name >= TENANT_LABEL);
    let own = |labels: &Labels| labels.without(|name| name == TENANT_LABEL);
    let is_own = |labels: &Labels| labels.get(TENANT_LABEL) == Some(tenant.as_str());
    let (first, last) = (before(&within.first), before(&within.last));
    let mut behind_last = last.builder();
    behind_last.set(LAST_NAME, LAST_NAME);
    SeriesRange {
        // One that ends before the tenant's label is in front of it without the label, and may be behind it with it.
        first: match first.iter().count() {
            0 | 1 if is_own(&within.first) => own(&within.first),
            0 | 1 => first,
            _ => Labels::from_pairs(first.iter().take(1)),
        },
        last: match own(&within.last) {
            own if is_own(&within.last) && own != last => own,
            _ => behind_last.build(),
        },
    }
}

fn labelled(labels: &Labels, tenant: &TenantId) -> Labels {
    let mut builder = labels.builder();
    if let Some(original) = labels.get(TENANT_LABEL) {
        builder.set(ORIGINAL_TENANT_LABEL, original);
    }
    builder.set(TENANT_LABEL, tenant.as_str());
    builder.build()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// The limits of a query: of several tenants each time the strictest.
pub(crate) fn strictest(handle: &LimitsHandle, tenants: &TenantIds) -> Arc<Limits> {
    if let Some(tenant) = tenants.only() {
        return handle.for_tenant(tenant);
    }
    let least = |a: u64, b: u64| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
    let shortest =
        |a: PromDuration, b: PromDuration| if a.is_zero() || b.is_zero() { a.max(b) } else { a.min(b) };
    let mut all = tenants.all().iter().map(|tenant| handle.for_tenant(tenant));
    let Some(first) = all.next() else { return Arc::new(Limits::default()) };
    let strictest = all.fold((*first).clone(), |a, b| Limits {
        max_series_per_query: least(a.max_series_per_query, b.max_series_per_query),
        max_samples_per_query: least(a.max_samples_per_query, b.max_samples_per_query),
        max_bytes_per_query: least(a.max_bytes_per_query, b.max_bytes_per_query),
        query_timeout: shortest(a.query_timeout, b.query_timeout),
        max_query_length: shortest(a.max_query_length, b.max_query_length),
        max_query_expression_size_bytes: least(
            a.max_query_expression_size_bytes,
            b.max_query_expression_size_bytes,
        ),
        max_regex_matchers_per_query: least(
            u64::from(a.max_regex_matchers_per_query),
            u64::from(b.max_regex_matchers_per_query),
        ) as u32,
        enabled_promql_experimental_functions: a
            .enabled_promql_experimental_functions
            .and(&b.enabled_promql_experimental_functions),
        enabled_promql_extended_range_selectors: a
            .enabled_promql_extended_range_selectors
            .and(&b.enabled_promql_extended_range_selectors),
        enabled_promql_binop_fill_modifiers: a
            .enabled_promql_binop_fill_modifiers
            .and(&b.enabled_promql_binop_fill_modifiers),
        ..a
    });
    Arc::new(strictest)
}

#[cfg(test)]
mod tests;
