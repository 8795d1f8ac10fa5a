use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::Matcher;

use crate::SelectBudget;

/// What is asked about the series that ingesters hold in memory.
#[derive(Debug, Clone)]
pub struct HeadStatsRequest {
    /// A series counts when all matchers of one of the selectors pass; no selector means all series.
    pub selectors: Vec<Vec<Matcher>>,
    /// Only series with a sample at this time or later, if given.
    pub active_since_ms: Option<i64>,
    /// The labels that are asked about; none means all.
    pub names: Vec<String>,
    /// How many values of each label are told with their number of series, those with the most.
    pub top: usize,
    /// Whether native histograms are asked about.
    pub histograms: bool,
    /// What the question may use.
    pub budget: Arc<SelectBudget>,
}

impl HeadStatsRequest {
    /// A list of so many values is asked for as one of so many times as many: what is little in one head may be much in
    /// all.
    pub const SPARE: usize = 4;
}

/// Figures of the series in memory. Those of several heads add up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeadStats {
    /// Figures of all together.
    pub totals: HeadTotals,
    /// Each label of the series that were counted, by name.
    pub labels: Vec<LabelStats>,
    /// Each metric whose series have native histograms, by name.
    pub histograms: Vec<HistogramStats>,
}

/// How much is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadTotals {
    /// Series that were counted.
    pub n_series: u64,
    /// Columns of samples, of all series.
    pub n_columns: u64,
    /// Time of the oldest sample of any series.
    pub oldest_ms: Option<i64>,
    /// Time of the newest.
    pub newest_ms: Option<i64>,
}

/// Figures of one label.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelStats {
    /// Its name.
    pub name: String,
    /// Series that have it.
    pub n_series: u64,
    /// Bytes of name and value over all these series, each text with its length before it.
    pub n_bytes: u64,
    /// How many values there are.
    pub values: Distinct,
    /// Values with their number of series, the most first, equal ones by value. When several heads hold more values
    /// than each tells, a value that one of them did not tell counts for less than it should
    /// ([`HeadStats::unsure`]).
    pub top: Vec<(String, u64)>,
}

/// Figures of the native histograms of one metric, by the newest histogram of each series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramStats {
    /// The metric.
    pub metric: String,
    /// Series that have histograms.
    pub n_series: u64,
    /// Buckets over all of them.
    pub n_buckets: u64,
    /// Buckets of the series with the fewest.
    pub min_buckets: u64,
    /// Buckets of the series with the most.
    pub max_buckets: u64,
}

/// How many different things there are, in a form that can be united with others: exact up to [`Distinct::EXACT`],
/// and in one head always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distinct {
    n: u64,
    /// The least of their hashes, in order; all of them where there are no more.
    least: Vec<u64>,
}

impl HeadStats {
    /// Adds the figures of another head.
    pub fn absorb(&mut self, other: HeadStats) {
        self.totals.absorb(other.totals);
        let mut at: HashMap<String, usize> =
            self.labels.iter().enumerate().map(|(i, label)| (label.name.clone(), i)).collect();
        for label in other.labels {
            match at.get(&label.name) {
                Some(i) => self.labels[*i].absorb(label),
                None => {
                    at.insert(label.name.clone(), self.labels.len());
                    self.labels.push(label);
                }
            }
        }
        self.labels.sort_by(|a, b| a.name.cmp(&b.name));
        for metric in other.histograms {
            match self.histograms.iter_mut().find(|known| known.metric == metric.metric) {
                Some(known) => known.absorb(&metric),
                None => self.histograms.push(metric),
            }
        }
        self.histograms.sort_by(|a, b| a.metric.cmp(&b.metric));
    }

    /// The labels of which the answers of several heads do not tell for sure which values are the `n` with the most
    /// series, and how many each of these has: a head has more values than it told, and not all of the first are among
    /// those, or others might come before them.
    pub fn unsure(answers: &[HeadStats], n: usize) -> Vec<String> {
        let mut by_name: BTreeMap<&str, Vec<&LabelStats>> = BTreeMap::new();
        for label in answers.iter().flat_map(|answer| &answer.labels) {
            by_name.entry(&label.name).or_default().push(label);
        }
        let unsure = by_name.into_iter().filter(|(_, told)| told.len() > 1 && !is_sure(told, n));
        unsure.map(|(name, _)| name.to_string()).collect()
    }

    /// Takes the values that are told here for those of the same labels that were told before.
    pub fn correct(&mut self, told: HeadStats) {
        for label in told.labels {
            if let Ok(at) = self.labels.binary_search_by(|known| known.name.cmp(&label.name)) {
                self.labels[at].top = label.top;
            }
        }
    }

    /// How many pairs of a label and a value there are.
    pub fn n_pairs(&self) -> u64 {
        self.labels.iter().map(|label| label.values.count()).sum()
    }
}

impl HeadTotals {
    fn absorb(&mut self, other: HeadTotals) {
        self.n_series += other.n_series;
        self.n_columns += other.n_columns;
        self.oldest_ms = self.oldest_ms.into_iter().chain(other.oldest_ms).min();
        self.newest_ms = self.newest_ms.into_iter().chain(other.newest_ms).max();
    }
}

impl LabelStats {
    fn absorb(&mut self, other: LabelStats) {
        self.n_series += other.n_series;
        self.n_bytes += other.n_bytes;
        self.values.unite(&other.values);
        let mut counts: HashMap<String, u64> = std::mem::take(&mut self.top).into_iter().collect();
        for (value, n_series) in other.top {
            *counts.entry(value).or_default() += n_series;
        }
        self.top = counts.into_iter().collect();
        self.top.sort_by(most_first);
    }
}

/// Whether the first `n` values of a label and their numbers are known, by what each head told of it.
fn is_sure(told: &[&LabelStats], n: usize) -> bool {
    // A value that a head did not tell has at most as many series there as the last one that it told.
    let untold = |label: &LabelStats| match label.values.count() > label.top.len() as u64 {
        true => label.top.last().map_or(label.n_series, |(_, n_series)| *n_series),
        false => 0,
    };
    let untold_by_all: u64 = told.iter().map(|label| untold(label)).sum();
    if untold_by_all == 0 {
        return true;
    }
    // Of each value what was told, and how much more there may be.
    let mut values: HashMap<&str, (u64, u64)> = HashMap::new();
    for label in told {
        for (value, n_series) in &label.top {
            let (sum, more) = values.entry(value).or_insert((0, untold_by_all));
            *sum += n_series;
            *more -= untold(label);
        }
    }
    let mut values: Vec<(u64, u64)> = values.into_values().collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    if values.len() < n {
        return false;
    }
    let (first, others) = values.split_at(n);
    let least = first.last().map_or(0, |(sum, _)| *sum);
    let might_come_before = |(sum, more): &(u64, u64)| *more > 0 && sum + more >= least;
    first.iter().all(|(_, more)| *more == 0) && untold_by_all < least && !others.iter().any(might_come_before)
}

impl HistogramStats {
    /// Adds series of the same metric.
    pub fn absorb(&mut self, other: &HistogramStats) {
        self.n_series += other.n_series;
        self.n_buckets += other.n_buckets;
        self.min_buckets = self.min_buckets.min(other.min_buckets);
        self.max_buckets = self.max_buckets.max(other.max_buckets);
    }
}

impl Distinct {
    /// As many hashes as are kept: 256 KiB, and an error of about half a percent (1/√32768) where there are more.
    pub const EXACT: usize = 1 << 15;

    /// Of the hashes of different things.
    pub fn of(mut hashes: Vec<u64>) -> Distinct {
        let n = hashes.len() as u64;
        if hashes.len() > Distinct::EXACT {
            hashes.select_nth_unstable(Distinct::EXACT);
            hashes.truncate(Distinct::EXACT);
        }
        hashes.sort_unstable();
        Distinct { n, least: hashes }
    }

    /// What came from elsewhere, if it can be.
    pub fn from_parts(n: u64, least: Vec<u64>) -> Option<Distinct> {
        let is_sorted = least.windows(2).all(|pair| pair[0] < pair[1]);
        let is_whole = least.len() as u64 == n.min(Distinct::EXACT as u64);
        (is_sorted && is_whole).then_some(Distinct { n, least })
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.n
    }

    /// The least hashes.
    pub fn least(&self) -> &[u64] {
        &self.least
    }

    fn unite(&mut self, other: &Distinct) {
        if self.n == 0 {
            self.clone_from(other);
            return;
        }
        let is_exact = self.is_exact() && other.is_exact();
        let n_at_least = self.n.max(other.n);
        self.least.extend_from_slice(&other.least);
        self.least.sort_unstable();
        self.least.dedup();
        if is_exact && self.least.len() <= Distinct::EXACT {
            self.n = self.least.len() as u64;
            return;
        }
        if is_exact {
            self.n = self.least.len() as u64;
            self.least.truncate(Distinct::EXACT);
            return;
        }
        self.least.truncate(Distinct::EXACT);
        // Hashes lie evenly: where the k-th least one is tells how many there are (the k-minimum-values estimate).
        let k = self.least.len() as f64;
        let part = self.least.last().map_or(1.0, |last| (*last as f64 + 1.0) / 2f64.powi(64));
        self.n = (((k - 1.0) / part).round() as u64).max(n_at_least);
    }

    fn is_exact(&self) -> bool {
        self.n == self.least.len() as u64
    }
}

/// The order of values by their number of series.
pub fn most_first(a: &(String, u64), b: &(String, u64)) -> std::cmp::Ordering {
    b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evenly spread, as hashes are.
    fn hashes(range: std::ops::Range<u64>) -> Vec<u64> {
        range.map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect()
    }

    fn check(ranges: &[std::ops::Range<u64>], wanted: u64, tolerance: f64) {
        let mut united = Distinct::default();
        for range in ranges {
            united.unite(&Distinct::of(hashes(range.clone())));
        }
        let error = (united.count() as f64 - wanted as f64).abs() / wanted as f64;
        assert!(error <= tolerance, "{ranges:?}: {} instead of {wanted}", united.count());
        assert!(united.least().len() <= Distinct::EXACT);
    }

    #[test]
    fn what_several_heads_have_is_counted_once() {
        let (few, many) = (0..10, 0..1_000_000);
        check(&[few], 10, 0.0);
        check(&[many], 1_000_000, 0.0);
        check(&[0..20_000, 10_000..30_000], 30_000, 0.0);
        check(&[0..30_000, 30_000..60_000], 60_000, 0.0);
        check(&[0..200_000, 100_000..300_000], 300_000, 0.02);
        check(&[0..200_000, 0..200_000, 50_000..250_000], 250_000, 0.02);
    }

    #[test]
    fn hashes_that_are_not_what_they_say_are_refused() {
        assert!(Distinct::from_parts(2, vec![1, 2]).is_some());
        assert!(Distinct::from_parts(2, vec![2, 1]).is_none());
        assert!(Distinct::from_parts(3, vec![1, 2]).is_none());
        assert!(Distinct::from_parts(1, vec![1, 2]).is_none());
    }

    #[test]
    fn of_lists_that_are_cut_it_is_known_whether_their_first_values_are_sure() {
        let head = |n_values: u64, top: &[(&str, u64)]| HeadStats {
            labels: vec![LabelStats {
                name: "job".to_string(),
                n_series: 1000,
                n_bytes: 0,
                values: Distinct::of(hashes(0..n_values)),
                top: top.iter().map(|(value, n)| (value.to_string(), *n)).collect(),
            }],
            ..HeadStats::default()
        };
        let is_sure = |n, heads: &[HeadStats]| HeadStats::unsure(heads, n).is_empty();
        let whole = head(2, &[("a", 9), ("b", 1)]);
        let cut = head(5, &[("a", 8), ("c", 3)]);
        assert!(is_sure(9, std::slice::from_ref(&cut)), "of one head there is nothing to add up");
        assert!(is_sure(9, &[whole.clone(), whole.clone()]), "all is told");
        assert!(is_sure(1, &[whole.clone(), cut.clone()]), "17 of a; b has at most 4, c has 3");
        assert!(!is_sure(2, &[whole.clone(), cut.clone()]), "b may have 4, c 3");
        let other = head(5, &[("c", 5), ("a", 2)]);
        assert!(is_sure(1, &[cut.clone(), other.clone()]), "a and c are told by both");
        let others = head(5, &[("d", 7), ("c", 6)]);
        assert!(!is_sure(1, &[cut.clone(), others]), "a may have 6 more");
        let far = head(9, &[("c", 9), ("a", 9)]);
        assert!(!is_sure(1, &[head(9, &[("c", 9), ("b", 9)]), far]), "a or b may have 18, as c has");
        assert!(!is_sure(1, &[head(5, &[]), head(5, &[])]), "nothing is told");
        let mut all = HeadStats::default();
        all.absorb(whole);
        all.absorb(cut);
        all.correct(head(5, &[("a", 17), ("b", 4)]));
        assert_eq!(all.labels[0].top, [("a".to_string(), 17), ("b".to_string(), 4)]);
        assert_eq!(all.labels[0].n_series, 2000);
    }

    #[test]
    fn figures_of_heads_add_up() {
        let label = |value: &str, n_series: u64| LabelStats {
            name: "job".to_string(),
            n_series,
            n_bytes: 10 * n_series,
            values: Distinct::of(vec![value.len() as u64]),
            top: vec![(value.to_string(), n_series)],
        };
        let head = |value: &str, n_series: u64, oldest_ms: Option<i64>| HeadStats {
            totals: HeadTotals { n_series, n_columns: 1, oldest_ms, newest_ms: oldest_ms },
            labels: vec![label(value, n_series)],
            histograms: Vec::new(),
        };
        let mut all = HeadStats::default();
        all.absorb(head("a", 2, Some(5)));
        all.absorb(head("bb", 3, None));
        all.absorb(head("a", 4, Some(1)));
        let totals = HeadTotals { n_series: 9, n_columns: 3, oldest_ms: Some(1), newest_ms: Some(5) };
        assert_eq!((all.totals, all.n_pairs()), (totals, 2));
        assert_eq!(all.labels[0].top, [("a".to_string(), 6), ("bb".to_string(), 3)]);
        assert_eq!((all.labels[0].n_series, all.labels[0].n_bytes), (9, 90));
    }
}
