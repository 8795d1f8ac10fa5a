use std::sync::Arc;
use std::time::Instant;

use model::{ExemplarPoint, ExemplarSeries, Labels, Merger, Metadata, SeriesData, TenantId, unite};
use wire::{
    HeadStats, HeadStatsRequest, LabelsRequest, MetadataRequest, Select, SelectError, SelectRequest,
    SelectStats, StandingRequest, StoredBlock,
};

/// Recent and stored series as one.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) recent: Arc<dyn Select>,
    pub(crate) stored: Arc<dyn Select>,
}

impl Source {
    /// The series that match, merged: at most one dense column each.
    pub(crate) async fn select(
        &self,
        tenant: &TenantId,
        mut request: SelectRequest,
    ) -> Result<(Vec<SeriesData>, SelectStats), SelectError> {
        let recent = self.recent.select(tenant, &request).await?;
        request.min_table_version = request.min_table_version.max(recent.table_version);
        let stored = self.stored.select(tenant, &request).await?;
        let mut stats = recent.stats;
        stats.add(stored.stats);
        Ok((merge(stored.series, recent.series), stats))
    }

    pub(crate) async fn series(
        &self,
        tenant: &TenantId,
        mut request: LabelsRequest,
    ) -> Result<Vec<Labels>, SelectError> {
        let recent = self.recent.series(tenant, &request).await?;
        request.min_table_version = recent.table_version;
        Ok(union(recent.items, self.stored.series(tenant, &request).await?.items))
    }

    pub(crate) async fn label_names(
        &self,
        tenant: &TenantId,
        mut request: LabelsRequest,
    ) -> Result<Vec<String>, SelectError> {
        let recent = self.recent.label_names(tenant, &request).await?;
        request.min_table_version = recent.table_version;
        Ok(union(recent.items, self.stored.label_names(tenant, &request).await?.items))
    }

    pub(crate) async fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        mut request: LabelsRequest,
    ) -> Result<Vec<String>, SelectError> {
        let recent = self.recent.label_values(tenant, name, &request).await?;
        request.min_table_version = recent.table_version;
        Ok(union(recent.items, self.stored.label_values(tenant, name, &request).await?.items))
    }

    pub(crate) async fn exemplars(
        &self,
        tenant: &TenantId,
        mut request: LabelsRequest,
    ) -> Result<Vec<ExemplarSeries>, SelectError> {
        let recent = self.recent.exemplars(tenant, &request).await?;
        request.min_table_version = recent.table_version;
        let stored = self.stored.exemplars(tenant, &request).await?;
        Ok(merge_exemplars(stored.items, recent.items))
    }

    pub(crate) async fn metadata(
        &self,
        tenant: &TenantId,
        mut request: MetadataRequest,
    ) -> Result<Vec<Metadata>, SelectError> {
        let recent = self.recent.metadata(tenant, &request).await?;
        request.min_table_version = recent.table_version;
        let stored = self.stored.metadata(tenant, &request).await?;
        Ok(merge_metadata(recent.items, stored.items))
    }

    /// Figures of the heads; tables are none.
    pub(crate) async fn head_stats(
        &self,
        tenant: &TenantId,
        request: &HeadStatsRequest,
    ) -> Result<HeadStats, SelectError> {
        self.recent.head_stats(tenant, request).await
    }

    /// The files of the table, those among them that ingesters know to have been committed last.
    pub(crate) async fn blocks(
        &self,
        tenant: &TenantId,
        deadline: Instant,
    ) -> Result<Vec<StoredBlock>, SelectError> {
        let asked = StandingRequest { deadline: Some(deadline), ..StandingRequest::default() };
        let recent = self.recent.standing(tenant, &asked).await?;
        self.stored.blocks(tenant, recent.table_version).await
    }
}

/// The exemplars of both halves, each once, by time.
fn merge_exemplars(stored: Vec<ExemplarSeries>, recent: Vec<ExemplarSeries>) -> Vec<ExemplarSeries> {
    let mut all: Vec<ExemplarSeries> = stored;
    all.extend(recent);
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut merged: Vec<ExemplarSeries> = Vec::with_capacity(all.len());
    for series in all {
        match merged.last_mut() {
            Some(last) if last.labels == series.labels => last.exemplars.extend(series.exemplars),
            _ => merged.push(series),
        }
    }
    for series in &mut merged {
        let key = |e: &ExemplarPoint| (e.timestamp, e.value.to_bits());
        series.exemplars.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.labels.cmp(&b.labels)));
        series.exemplars.dedup_by(|a, b| key(a) == key(b) && a.labels == b.labels);
    }
    merged
}

/// The descriptions of both halves by family, each once, the head's first.
fn merge_metadata(recent: Vec<Metadata>, stored: Vec<Metadata>) -> Vec<Metadata> {
    let mut all = recent;
    all.extend(stored);
    all.sort_by(|a, b| a.family.cmp(&b.family));
    let mut merged: Vec<Metadata> = Vec::with_capacity(all.len());
    for one in all {
        let is_known =
            merged.iter().rev().take_while(|known| known.family == one.family).any(|known| *known == one);
        if !is_known {
            merged.push(one);
        }
    }
    merged
}

/// The series of both halves, each once.
fn merge(mut stored: Vec<SeriesData>, recent: Vec<SeriesData>) -> Vec<SeriesData> {
    let is_once = |half: &[SeriesData]| {
        half.windows(2).all(|pair| pair[0].id.is_some() || pair[0].labels != pair[1].labels)
    };
    let all = match (stored.is_empty(), recent.is_empty()) {
        (true, _) if is_once(&recent) => recent,
        (_, true) if is_once(&stored) => stored,
        _ => {
            stored.extend(recent);
            unite(stored)
        }
    };
    let mut merger = Merger::default();
    all.into_iter().map(|series| merger.merge(series)).collect()
}

fn union<T: Ord>(mut a: Vec<T>, b: Vec<T>) -> Vec<T> {
    if !b.is_empty() {
        a.extend(b);
        // Two sorted runs: the stable sort merges them in linear time.
        a.sort();
        a.dedup();
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::FloatColumn;

    fn series(name: &str, samples: &[(i64, f64)]) -> SeriesData {
        let mut series = SeriesData::new(Labels::from_pairs([("__name__", name)]));
        let (timeline, values) = samples.iter().copied().unzip();
        series.floats.push(FloatColumn::new(timeline, values));
        series
    }

    #[test]
    fn a_series_in_both_halves_comes_out_once_and_in_order() {
        let stored = vec![series("a", &[(1, 1.0), (2, 2.0)]), series("c", &[(1, 3.0)])];
        let recent = vec![series("a", &[(2, 2.0), (3, 3.0)]), series("b", &[(9, 9.0)])];
        let merged = merge(stored, recent);
        let names: Vec<_> = merged.iter().filter_map(|s| s.labels.metric_name()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let samples: Vec<_> = merged[0].floats[0].samples().collect();
        assert_eq!(samples, [(1, 1.0), (2, 2.0), (3, 3.0)]);
    }

    #[test]
    fn a_series_in_both_halves_comes_out_once_where_labels_are_left_out() {
        let projected = |name, samples: &[(i64, f64)]| {
            let mut series = series(name, samples);
            series.id = Some(series.labels.id());
            series.labels = Labels::empty();
            series
        };
        let stored = vec![projected("c", &[(1, 3.0)]), projected("a", &[(1, 1.0)])];
        // One half may leave labels as they are.
        for recent in [vec![projected("a", &[(2, 2.0)])], vec![series("a", &[(2, 2.0)])]] {
            let merged = merge(stored.clone(), recent);
            let samples = |one: &SeriesData| (one.identity(), one.floats[0].samples().collect::<Vec<_>>());
            let id = |name| Labels::from_pairs([("__name__", name)]).id();
            let wanted = [(id("c"), vec![(1, 3.0)]), (id("a"), vec![(1, 1.0), (2, 2.0)])];
            assert_eq!(merged.iter().map(samples).collect::<Vec<_>>(), wanted);
        }
        assert_eq!(merge(Vec::new(), stored.clone()).len(), 2);
    }

    #[test]
    fn lists_of_names_unite_without_repetition() {
        assert_eq!(union(vec!["a", "c"], vec!["b", "c"]), ["a", "b", "c"]);
        assert_eq!(union(vec!["a"], vec![]), ["a"]);
    }
}
