use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// The identity of a series: xxh3-128 (seed 0) of its canonical label run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u128);

impl SeriesId {
    /// The identity of the series with this canonical label run.
    pub fn of_run(run: &[u8]) -> SeriesId {
        SeriesId(xxh3_128(run))
    }
}

/// A canonical label set: sorted by name, no duplicate, no empty name or value.
///
/// The bytes are a *label run*, the form in which labels travel in remote write 1.0 (`prometheus.TimeSeries`,
/// field 1 repeated): for each label `0x0A varint(len) 0x0A varint(name len) name 0x12 varint(value len) value`.
/// A sender that sorts its labels therefore sends the canonical bytes, and they are compared and kept as they are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    run: Arc<[u8]>,
}

/// A label run does not parse or is not canonical.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("labels are not a canonical run")]
pub struct DecodeLabelsError;

impl Labels {
    /// No labels.
    pub fn empty() -> Labels {
        Labels { run: Arc::from([]) }
    }

    /// Labels from pairs in any order. Empty values are dropped, of a repeated name the last one stays.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Checks that `run` is canonical, and takes it.
    pub fn from_run(run: &[u8]) -> Result<Labels, DecodeLabelsError> {
        let mut rest = run;
        let mut last: Option<&str> = None;
        while !rest.is_empty() {
            let (name, value, tail) = next_label(rest).ok_or(DecodeLabelsError)?;
            let in_order = last.is_none_or(|last| last < name);
            if !in_order || name.is_empty() || value.is_empty() {
                return Err(DecodeLabelsError);
            }
            last = Some(name);
            rest = tail;
        }
        Ok(Labels { run: run.into() })
    }

    /// Takes a run that is known to be canonical: one that was checked when it came, or was built in order.
    pub fn of_canonical_run(run: &[u8]) -> Labels {
        debug_assert!(Labels::from_run(run).is_ok(), "BUG: not a canonical run");
        Labels { run: run.into() }
    }

    /// The canonical bytes.
    pub fn run(&self) -> &[u8] {
        &self.run
    }

    /// The identity of the series with these labels.
    pub fn id(&self) -> SeriesId {
        SeriesId::of_run(&self.run)
    }

    /// The pairs in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        runs(&self.run)
    }

    /// The value of a label; absent and empty are the same to a matcher.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = run_labels(&self.run).find(|label| label.name == name.as_bytes())?;
        std::str::from_utf8(found.value).ok()
    }

    /// The metric's name, if there is one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.run.is_empty()
    }

    /// A builder that starts from these labels.
    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect() }
    }

    /// These labels without those for which `drop` says so.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Labels {
        let mut run = Vec::with_capacity(self.run.len());
        for label in run_labels(&self.run) {
            if !std::str::from_utf8(label.name).is_ok_and(&drop) {
                run.extend_from_slice(label.bytes);
            }
        }
        Labels { run: run.into() }
    }
}

impl Ord for Labels {
    /// The order of Prometheus: pair by pair, name before value; a prefix comes first.
    fn cmp(&self, other: &Labels) -> Ordering {
        compare_runs(&self.run, &other.run)
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Collects labels in any order.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut LabelsBuilder {
        self.remove(name);
        if !value.is_empty() {
            self.pairs.push((name.to_string(), value.to_string()));
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut LabelsBuilder {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// The canonical labels.
    pub fn build(mut self) -> Labels {
        self.pairs.sort();
        let mut run = Vec::new();
        for (name, value) in self.pairs.iter().filter(|(name, _)| !name.is_empty()) {
            push_label(&mut run, name, value);
        }
        Labels { run: run.into() }
    }
}

/// Appends one label to a run. The caller keeps the order of names.
pub fn push_label(run: &mut Vec<u8>, name: &str, value: &str) {
    let len = 1 + varint_len(name.len()) + name.len() + 1 + varint_len(value.len()) + value.len();
    run.push(0x0A);
    push_varint(run, len);
    run.push(0x0A);
    push_varint(run, name.len());
    run.extend_from_slice(name.as_bytes());
    run.push(0x12);
    push_varint(run, value.len());
    run.extend_from_slice(value.as_bytes());
}

/// The pairs of a canonical run. Stops at the first byte that is not part of a label.
pub fn runs(run: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let (name, value, tail) = next_label(rest)?;
        rest = tail;
        Some((name, value))
    })
}

/// A label of a run, not looked at as text: that is dear where many are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLabel<'a> {
    /// The whole label, as it stands in the run.
    pub bytes: &'a [u8],
    /// The name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// The labels of a canonical run. Stops at the first byte that is not part of a label.
pub fn run_labels(run: &[u8]) -> impl Iterator<Item = RunLabel<'_>> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let (label, tail) = next_run_label(rest)?;
        rest = tail;
        Some(label)
    })
}

/// The order of [`Labels`] with these canonical runs.
pub fn compare_runs(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let (Some((body_a, tail_a)), Some((body_b, tail_b))) = (field(a, 0x0A), field(b, 0x0A)) else {
            return a.len().cmp(&b.len());
        };
        // Equal labels have equal bytes, so only the first that differs has to be taken apart.
        if body_a != body_b {
            return pair(body_a).cmp(&pair(body_b));
        }
        (a, b) = (tail_a, tail_b);
    }
}

/// The number of labels in a canonical run.
pub fn run_len(run: &[u8]) -> usize {
    run_labels(run).count()
}

fn next_label(bytes: &[u8]) -> Option<(&str, &str, &[u8])> {
    let (label, tail) = next_run_label(bytes)?;
    Some((std::str::from_utf8(label.name).ok()?, std::str::from_utf8(label.value).ok()?, tail))
}

#[inline]
fn next_run_label(bytes: &[u8]) -> Option<(RunLabel<'_>, &[u8])> {
    let (body, tail) = field(bytes, 0x0A)?;
    let (name, value) = pair(body)?;
    Some((RunLabel { bytes: &bytes[..bytes.len() - tail.len()], name, value }, tail))
}

/// Name and value of a label's inside.
#[inline]
fn pair(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = field(body, 0x0A)?;
    let (value, rest) = field(rest, 0x12)?;
    rest.is_empty().then_some((name, value))
}

#[inline]
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first != tag {
        return None;
    }
    let (len, rest) = match rest.split_first()? {
        (&len, rest) if len < 0x80 => (usize::from(len), rest),
        _ => read_varint(rest)?,
    };
    (len <= rest.len()).then(|| rest.split_at(len))
}

fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

fn push_varint(run: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        run.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    run.push(value as u8);
}

fn varint_len(value: usize) -> usize {
    let mut len = 1;
    let mut value = value >> 7;
    while value > 0 {
        len += 1;
        value >>= 7;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_equal_bytes_whatever_their_order() {
        let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("__name__", "up"), ("c", "")]);
        let b = Labels::from_pairs([("__name__", "up"), ("a", "1"), ("b", "2")]);
        assert_eq!(a, b);
        assert_eq!(a.id(), b.id());
        assert_eq!(a.to_string(), r#"{__name__="up", a="1", b="2"}"#);
        assert_eq!(Labels::from_run(a.run()), Ok(a));
    }

    #[test]
    fn a_run_that_is_not_canonical_is_refused() {
        let mut unsorted = Vec::new();
        push_label(&mut unsorted, "b", "1");
        push_label(&mut unsorted, "a", "1");
        let mut empty_value = Vec::new();
        push_label(&mut empty_value, "a", "");
        let mut long = Vec::new();
        push_label(&mut long, "a", &"x".repeat(300));
        for bad in [&unsorted[..], &empty_value, &long[..long.len() - 1], b"\x0A\xFF\xFF\xFF\xFF\xFF\xFF"] {
            assert_eq!(Labels::from_run(bad), Err(DecodeLabelsError));
        }
        assert!(Labels::from_run(&long).is_ok());
    }

    #[test]
    fn order_is_by_pairs_not_by_bytes() {
        let short = Labels::from_pairs([("a", "zz")]);
        let long = Labels::from_pairs([("a", "zzz")]);
        let longer_name = Labels::from_pairs([("aa", "a")]);
        assert!(short < long && long < longer_name);
    }

    #[test]
    fn runs_compare_as_their_pairs_do() {
        let long = "x".repeat(200);
        let sets: [&[(&str, &str)]; 9] = [
            &[],
            &[("a", "1")],
            &[("a", "1"), ("b", "2")],
            &[("a", "1"), ("b", &long)],
            &[("a", "1"), ("bb", "")],
            &[("a", "10")],
            &[("a", &long)],
            &[("A", "1"), ("a", "1")],
            &[("é", "1")],
        ];
        let sets = sets.map(|pairs| Labels::from_pairs(pairs.iter().copied()));
        for a in &sets {
            for b in &sets {
                assert_eq!(compare_runs(a.run(), b.run()), a.iter().cmp(b.iter()), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_is_left_of_labels_is_canonical() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a"), ("zone", "é")]);
        let left = labels.without(|name| name == "job");
        assert_eq!(left, Labels::from_pairs([("__name__", "up"), ("zone", "é")]));
        assert_eq!((left.get("zone"), left.get("job")), (Some("é"), None));
        assert_eq!(Labels::of_canonical_run(left.run()), left);
    }
}
