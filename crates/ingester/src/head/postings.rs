//! Which series have a label: lists of refs by (name, value), and matchers resolved against them.

use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use model::{Matcher, RunLabel, run_labels};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::MALLOC;
use super::arena::{Arena, Place};

/// The inverted index of a shard.
///
/// Refs are in order because series are indexed as they are born; a replay that brings them in another order says
/// so by `sort`. Forgotten series stay in the lists until a rebuild, so readers ask the series table as well.
#[derive(Debug, Default)]
pub(super) struct Postings {
    names: HashMap<Arc<str>, u32>,
    /// The names in the order of birth.
    texts: Vec<Arc<str>>,
    /// Pairs by name, in the order of birth.
    pairs_of: Vec<Vec<u32>>,
    pairs: Vec<Pair>,
    by_pair: HashTable<(u32, u32)>,
    lists: Vec<Vec<u32>>,
    /// (name, pair) of the last indexed series, by position: most labels of the next one are the same.
    last: Vec<(u32, u32)>,
    is_unsorted: bool,
    n_list_bytes: usize,
    /// Of the names and the lists of their pairs: the sum is asked for after each push.
    n_name_bytes: usize,
}

#[derive(Debug)]
struct Pair {
    /// With [`ONLY`] when there is one series only.
    name: u32,
    value: Place,
    /// Which list, or the only series.
    list: u32,
}

const ONLY: u32 = 1 << 31;

impl Postings {
    /// Indexes a series whose run lies at `place`.
    pub(super) fn insert(&mut self, series_ref: u32, place: Place, arena: &Arena) {
        let run = arena.get(place);
        let base = run.as_ptr() as usize;
        for (position, label) in run_labels(run).enumerate() {
            let offset = place.offset + (label.value.as_ptr() as usize - base) as u32;
            let value_at = Place { chunk: place.chunk, offset, len: label.value.len() as u32 };
            let pair = self.pair(position, label, value_at, arena, series_ref);
            if let Some(pair) = pair {
                self.append(pair, series_ref);
            }
        }
    }

    /// Puts the lists in order after series were indexed in another one.
    pub(super) fn sort(&mut self) {
        if std::mem::take(&mut self.is_unsorted) {
            self.lists.iter_mut().for_each(|list| list.sort_unstable());
        }
    }

    /// The series that pass all matchers, in order, forgotten ones included. `all` is asked for when no matcher
    /// requires a label.
    pub(super) fn resolve(
        &self,
        matchers: &[Matcher],
        arena: &Arena,
        all: impl FnOnce() -> Vec<u32>,
    ) -> Vec<u32> {
        let mut required: Vec<Vec<u32>> = Vec::new();
        let mut excluded: Vec<Vec<u32>> = Vec::new();
        for matcher in matchers.iter().filter(|matcher| !matcher.matches_all()) {
            if matcher.matches_empty() {
                excluded.push(self.union(matcher, false, arena));
            } else {
                required.push(self.union(matcher, true, arena));
            }
        }
        required.sort_by_key(Vec::len);
        let mut required = required.into_iter();
        let mut refs = required.next().unwrap_or_else(all);
        for list in required {
            intersect(&mut refs, &list);
        }
        for list in excluded {
            subtract(&mut refs, &list);
        }
        refs
    }

    /// The names of labels that a series for which `is_wanted` says so has.
    pub(super) fn names(&self, is_wanted: impl Fn(u32) -> bool) -> Vec<String> {
        let has_name = |name: u32| {
            self.pairs_of[name as usize].iter().any(|p| self.refs(*p).iter().any(|r| is_wanted(*r)))
        };
        let mut names: Vec<String> = self
            .names
            .iter()
            .filter(|(_, name)| has_name(**name))
            .map(|(text, _)| text.to_string())
            .collect();
        names.sort_unstable();
        names
    }

    /// The values of a label that a series for which `is_wanted` says so has.
    pub(super) fn values(&self, name: &str, arena: &Arena, is_wanted: impl Fn(u32) -> bool) -> Vec<String> {
        let Some(name) = self.names.get(name) else { return Vec::new() };
        let pairs = self.pairs_of[*name as usize].iter();
        let mut values: Vec<String> = pairs
            .filter(|pair| self.refs(**pair).iter().any(|r| is_wanted(*r)))
            .map(|pair| self.value(*pair, arena).to_string())
            .collect();
        values.sort_unstable();
        values
    }

    /// How many pairs of a name and a value there are; they are numbered in the order of birth.
    pub(super) fn n_pairs(&self) -> usize {
        self.pairs.len()
    }

    /// A pair: its name, its value, and the series that have it, forgotten ones included.
    pub(super) fn pair_at<'a>(&'a self, pair: u32, arena: &'a Arena) -> (&'a Arc<str>, &'a [u8], &'a [u32]) {
        let name = self.pairs[pair as usize].name & !ONLY;
        (&self.texts[name as usize], self.value_bytes(pair, arena), self.refs(pair))
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.n_list_bytes
            + self.n_name_bytes
            + 16 * self.texts.capacity()
            + self.names.allocation_size()
            + size_of::<Pair>() * self.pairs.capacity()
            + self.by_pair.allocation_size()
            + size_of::<Vec<u32>>() * self.lists.capacity()
    }

    /// The pair's number; `None` when the pair was just born with this series as its only one.
    fn pair(
        &mut self,
        position: usize,
        label: RunLabel<'_>,
        value_at: Place,
        arena: &Arena,
        series_ref: u32,
    ) -> Option<u32> {
        if let Some(&(name_at, pair)) = self.last.get(position)
            && self.value_bytes(pair, arena) == label.value
            && self.texts[name_at as usize].as_bytes() == label.name
        {
            return Some(pair);
        }
        // Labels were checked when they came: a name that is no text does not get here.
        let name_at = self.name(std::str::from_utf8(label.name).unwrap_or_default());
        let bits = hash_bits(name_at, label.value);
        let found = self.find(name_at, label.value, arena);
        let pair = found.unwrap_or(self.pairs.len() as u32);
        if self.last.len() <= position {
            self.last.resize(position + 1, (name_at, pair));
        }
        self.last[position] = (name_at, pair);
        if found.is_some() {
            return found;
        }
        grow(&mut self.pairs);
        self.pairs.push(Pair { name: name_at | ONLY, value: value_at, list: series_ref });
        let pairs_of = &mut self.pairs_of[name_at as usize];
        let before = pairs_of.capacity();
        grow(pairs_of);
        pairs_of.push(pair);
        self.n_name_bytes += 4 * (pairs_of.capacity() - before);
        self.by_pair.insert_unique(spread(bits), (bits, pair), |(bits, _)| spread(*bits));
        None
    }

    fn name(&mut self, name: &str) -> u32 {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.pairs_of.len() as u32;
        self.pairs_of.push(Vec::new());
        let text: Arc<str> = name.into();
        self.texts.push(Arc::clone(&text));
        self.n_name_bytes += 32 + name.len() + size_of::<Vec<u32>>();
        self.names.insert(text, at);
        at
    }

    fn append(&mut self, pair: u32, series_ref: u32) {
        let pair = &mut self.pairs[pair as usize];
        if pair.name & ONLY != 0 {
            let list = vec![pair.list];
            self.n_list_bytes += 4 + MALLOC;
            pair.name &= !ONLY;
            pair.list = self.lists.len() as u32;
            grow(&mut self.lists);
            self.lists.push(list);
        }
        let list = &mut self.lists[pair.list as usize];
        self.is_unsorted |= list.last().is_some_and(|last| *last > series_ref);
        let before = list.capacity();
        grow(list);
        list.push(series_ref);
        self.n_list_bytes += 4 * (list.capacity() - before);
    }

    fn refs(&self, pair: u32) -> &[u32] {
        let pair = &self.pairs[pair as usize];
        if pair.name & ONLY != 0 {
            return std::slice::from_ref(&pair.list);
        }
        &self.lists[pair.list as usize]
    }

    fn value<'a>(&self, pair: u32, arena: &'a Arena) -> &'a str {
        // Values were cut out of a run by `runs`, which checks UTF-8.
        std::str::from_utf8(self.value_bytes(pair, arena)).unwrap_or_default()
    }

    fn value_bytes<'a>(&self, pair: u32, arena: &'a Arena) -> &'a [u8] {
        arena.get(self.pairs[pair as usize].value)
    }

    /// The refs of all values of the matcher's name that pass, or of all that fail.
    fn union(&self, matcher: &Matcher, passing: bool, arena: &Arena) -> Vec<u32> {
        let Some(name) = self.names.get(matcher.name.as_str()) else { return Vec::new() };
        let mut refs = Vec::new();
        let mut n_lists = 0;
        let mut add = |pair: u32| {
            refs.extend_from_slice(self.refs(pair));
            n_lists += 1;
        };
        match matcher.candidates().filter(|_| passing) {
            Some(candidates) => {
                candidates.iter().filter_map(|v| self.find(*name, v.as_bytes(), arena)).for_each(&mut add)
            }
            None => {
                let pairs = self.pairs_of[*name as usize].iter().copied();
                pairs.filter(|pair| matcher.matches(self.value(*pair, arena)) == passing).for_each(&mut add);
            }
        }
        if n_lists > 1 || self.is_unsorted {
            sort(&mut refs);
        }
        refs
    }

    fn find(&self, name: u32, value: &[u8], arena: &Arena) -> Option<u32> {
        let bits = hash_bits(name, value);
        let same = |entry: &(u32, u32)| {
            let is_name = self.pairs[entry.1 as usize].name & !ONLY == name;
            entry.0 == bits && is_name && self.value_bytes(entry.1, arena) == value
        };
        self.by_pair.find(spread(bits), same).map(|(_, pair)| *pair)
    }
}

/// Grows by a quarter: lists are many, and half of a doubled one lies idle.
fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(1));
    }
}

/// Sorts refs and leaves each once. Those that lie close together are marked in a row of bits, which is then read.
pub(super) fn sort(refs: &mut Vec<u32>) {
    let (Some(min), Some(max)) = (refs.iter().copied().min(), refs.iter().copied().max()) else { return };
    let n_words = (max - min) as usize / 64 + 1;
    if n_words > refs.len() {
        refs.sort_unstable();
        refs.dedup();
        return;
    }
    let mut words = vec![0u64; n_words];
    for r in &*refs {
        words[(r - min) as usize / 64] |= 1 << ((r - min) % 64);
    }
    refs.clear();
    for (first, mut word) in (min..).step_by(64).zip(words) {
        while word != 0 {
            refs.push(first + word.trailing_zeros());
            word &= word - 1;
        }
    }
}

/// Keeps what is in both; `refs` is the shorter one.
fn intersect(refs: &mut Vec<u32>, list: &[u32]) {
    let mut rest = list;
    refs.retain(|r| {
        rest = &rest[gallop(rest, *r)..];
        rest.first() == Some(r)
    });
}

/// Drops what is in `list`.
fn subtract(refs: &mut Vec<u32>, list: &[u32]) {
    let mut rest = list;
    refs.retain(|r| {
        rest = &rest[gallop(rest, *r)..];
        rest.first() != Some(r)
    });
}

/// How many elements are less than `wanted`, found in steps that double.
fn gallop(list: &[u32], wanted: u32) -> usize {
    let mut step = 1;
    while step < list.len() && list[step] < wanted {
        step *= 2;
    }
    let from = step / 2;
    let to = (step + 1).min(list.len());
    from.min(to) + list[from.min(to)..to].partition_point(|r| *r < wanted)
}

fn hash_bits(name: u32, value: &[u8]) -> u32 {
    xxh3_64_with_seed(value, u64::from(name)) as u32
}

/// The table takes its place from the low bits and its tag from the high ones.
fn spread(bits: u32) -> u64 {
    u64::from(bits) << 32 | u64::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, MatcherOp};

    fn index(series: &[Labels]) -> (Postings, Arena) {
        let (mut postings, mut arena) = (Postings::default(), Arena::default());
        for (i, labels) in series.iter().enumerate() {
            let place = arena.push(labels.run());
            postings.insert(i as u32, place, &arena);
        }
        (postings, arena)
    }

    fn fleet() -> Vec<Labels> {
        let mut series = Vec::new();
        for name in ["up", "cpu", "disk"] {
            for host in 0..20 {
                let device = if name == "disk" { format!("sd{}", host % 3) } else { String::new() };
                let host = format!("h{host}");
                series.push(Labels::from_pairs([("__name__", name), ("host", &host), ("device", &device)]));
            }
        }
        series
    }

    #[test]
    fn matchers_find_what_a_scan_finds() {
        let series = fleet();
        let (postings, arena) = index(&series);
        let ops = [MatcherOp::Equal, MatcherOp::NotEqual, MatcherOp::Regex, MatcherOp::NotRegex];
        let mut matchers = Vec::new();
        for op in ops {
            for (name, value) in [
                ("__name__", "up"),
                ("host", "h1.*"),
                ("host", "h1|h2"),
                ("device", ""),
                ("device", "sd1"),
                ("device", ".+"),
                ("absent", ""),
                ("absent", "x"),
                ("host", ".*"),
                ("device", "sd1|"),
            ] {
                matchers.push(Matcher::new(name, op, value).unwrap());
            }
        }
        for a in &matchers {
            for b in &matchers {
                let both = [a.clone(), b.clone()];
                let passes =
                    |labels: &Labels| both.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")));
                let wanted: Vec<u32> =
                    (0..series.len() as u32).filter(|i| passes(&series[*i as usize])).collect();
                let all = || (0..series.len() as u32).collect();
                let found = postings.resolve(&both, &arena, all);
                assert_eq!(found, wanted, "{a} {b}");
            }
        }
    }

    #[test]
    fn names_and_values_are_sorted_and_only_of_wanted_series() {
        let (postings, arena) = index(&fleet());
        assert_eq!(postings.names(|r| r < 20), ["__name__", "host"]);
        assert_eq!(postings.names(|_| true), ["__name__", "device", "host"]);
        assert_eq!(postings.values("device", &arena, |r| r != 41), ["sd0", "sd1", "sd2"]);
        assert_eq!(postings.values("device", &arena, |r| r == 41), ["sd1"]);
        assert!(postings.values("none", &arena, |_| true).is_empty());
    }

    #[test]
    fn series_indexed_out_of_order_are_found_before_and_after_sorting() {
        let series = fleet();
        let (mut postings, mut arena) = (Postings::default(), Arena::default());
        for i in (0..series.len()).rev() {
            let place = arena.push(series[i].run());
            postings.insert(i as u32, place, &arena);
        }
        let up = [
            Matcher::new("__name__", MatcherOp::Equal, "up").unwrap(),
            Matcher::new("host", MatcherOp::Regex, "h[12]").unwrap(),
        ];
        assert_eq!(postings.resolve(&up, &arena, Vec::new), [1, 2]);
        postings.sort();
        assert_eq!(postings.resolve(&up, &arena, Vec::new), [1, 2]);
    }

    #[test]
    fn refs_are_sorted_each_once_whether_they_lie_close_together_or_not() {
        for step in [1, 3, 64, 100, 1_000_000] {
            let wanted: Vec<u32> = (5..300).map(|i| i * step).collect();
            let mut refs: Vec<u32> = wanted.iter().rev().chain(&wanted[7..90]).copied().collect();
            sort(&mut refs);
            assert_eq!(refs, wanted, "{step}");
        }
        let mut ends = vec![u32::MAX, 0, u32::MAX];
        sort(&mut ends);
        assert_eq!(ends, [0, u32::MAX]);
    }

    #[test]
    fn galloping_finds_the_first_that_is_not_less() {
        let list: Vec<u32> = (0..100).map(|i| i * 3).collect();
        for wanted in 0..310 {
            assert_eq!(gallop(&list, wanted), list.partition_point(|r| *r < wanted), "{wanted}");
        }
        assert_eq!(gallop(&[], 5), 0);
    }
}
