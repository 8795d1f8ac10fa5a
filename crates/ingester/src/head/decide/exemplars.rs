//! Which exemplars of a batch are accepted.

use model::{BatchSeries, ExemplarPoint, Labels, runs};

use super::{Decider, Target};
use crate::head::exemplars::is_same;
use crate::head::generation::Generation;
use crate::head::series::NO_REF;
use crate::head::{Decision, ShardHead};

impl ShardHead {
    /// Whether the exemplar is in memory, open or frozen.
    pub(in crate::head) fn has_exemplar(&self, series_ref: u32, point: &ExemplarPoint) -> bool {
        let start = self.window_start(point.timestamp);
        let holds = |generation: &Generation| {
            let log = generation.exemplars.get(&series_ref).filter(|_| generation.start == start);
            log.is_some_and(|log| log.has(point))
        };
        self.open.iter().any(holds) || self.frozen.iter().any(|frozen| holds(frozen.generation()))
    }

    /// How many exemplars of the series and window are in memory.
    fn n_exemplars(&self, series_ref: u32, start: i64) -> usize {
        let of = |generation: &Generation| {
            let log = generation.exemplars.get(&series_ref).filter(|_| generation.start == start);
            log.map_or(0, |log| log.len())
        };
        let open: usize = self.open.iter().map(of).sum();
        open + self.frozen.iter().map(|frozen| of(frozen.generation())).sum::<usize>()
    }
}

impl Decider<'_> {
    /// An exemplar is decided like a sample, but what is refused is only counted: it never fails its request.
    pub(super) fn exemplar(
        &mut self,
        series: &BatchSeries,
        target: &mut Target,
        at: usize,
        out: &mut Decision,
    ) {
        let Some(exemplar) = self.part.exemplars.get(at) else { return };
        if self.refused_by_time(exemplar.timestamp).is_some() {
            out.refused_exemplars.by_time += 1;
            return;
        }
        let point = ExemplarPoint {
            timestamp: exemplar.timestamp,
            value: exemplar.value,
            labels: canonical(self.batch.exemplar_labels(exemplar)),
        };
        let start = self.head.window_start(point.timestamp);
        let in_request =
            self.request.exemplars.get(&(target.series_ref, start)).map_or(&[][..], Vec::as_slice);
        let is_repeated = in_request.iter().any(|at| is_same(&out.exemplars[*at as usize].1, &point));
        if is_repeated || !target.is_new && self.head.has_exemplar(target.series_ref, &point) {
            out.pushed.n_exemplars += 1;
            return;
        }
        let n_stored = if target.is_new { 0 } else { self.head.n_exemplars(target.series_ref, start) };
        let limit = self.rules.max_exemplars_per_series as usize;
        if limit > 0 && n_stored + in_request.len() >= limit {
            out.refused_exemplars.by_limit += 1;
            return;
        }
        if target.series_ref == NO_REF && !self.give_birth(series, target, out) {
            out.refused_exemplars.by_series_limit += 1;
            return;
        }
        let place = out.exemplars.len() as u32;
        self.request.exemplars.entry((target.series_ref, start)).or_default().push(place);
        out.exemplars.push((target.series_ref, point));
        out.pushed.n_exemplars += 1;
    }
}

/// Exemplar labels come in the order of arrival and are kept in that of their names.
fn canonical(run: &[u8]) -> Labels {
    Labels::from_run(run).unwrap_or_else(|_| Labels::from_pairs(runs(run)))
}
