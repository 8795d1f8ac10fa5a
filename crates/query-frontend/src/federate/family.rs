use std::iter::Peekable;
use std::vec;

use super::{Newest, Value};
use model::{Histogram, ResetHint};

/// The most series of one piece of a family: a piece is built whole, since it begins with its length.
const SERIES_MAX: usize = 1_000;

/// What a family is declared to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Untyped,
    Histogram,
    GaugeHistogram,
}

/// Some series of one name and kind that follow one another, not empty.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Whether it goes on from the one before.
    pub(super) continues: bool,
    pub(super) series: Vec<Newest>,
}

/// Series by name, as families.
pub(super) struct Families {
    series: Peekable<vec::IntoIter<Newest>>,
    takes_native_histograms: bool,
    last: Option<(String, Kind)>,
}

impl Families {
    /// The families of series that are in the order of their names.
    pub(super) fn new(series: Vec<Newest>, takes_native_histograms: bool) -> Families {
        Families { series: series.into_iter().peekable(), takes_native_histograms, last: None }
    }
}

impl Iterator for Families {
    type Item = Family;

    fn next(&mut self) -> Option<Family> {
        let native = self.takes_native_histograms;
        while self.series.next_if(|one| !is_shown(one, native)).is_some() {}
        let first = self.series.peek()?;
        let (name, kind) = (first.labels.metric_name()?.to_string(), first.kind());
        let mut series = Vec::new();
        let belongs = |one: &Newest| one.labels.metric_name() == Some(&name) && one.kind() == kind;
        while series.len() < SERIES_MAX
            && let Some(one) = self.series.next_if(|one| !is_shown(one, native) || belongs(one))
        {
            if is_shown(&one, native) {
                series.push(one);
            }
        }
        let continues = self.last.as_ref() == Some(&(name.clone(), kind));
        self.last = Some((name.clone(), kind));
        Some(Family { name, kind, continues, series })
    }
}

impl Newest {
    fn kind(&self) -> Kind {
        match &self.value {
            Value::Float(_) => Kind::Untyped,
            Value::Histogram(histogram) if histogram.reset_hint == ResetHint::Gauge => Kind::GaugeHistogram,
            Value::Histogram(_) => Kind::Histogram,
        }
    }
}

/// What has no name is in no family.
fn is_shown(one: &Newest, takes_native_histograms: bool) -> bool {
    let is_native = |histogram: &Histogram| !histogram.is_custom();
    let fits = match &one.value {
        Value::Float(_) => true,
        Value::Histogram(histogram) => takes_native_histograms || !is_native(histogram),
    };
    fits && one.labels.metric_name().is_some()
}

/// A histogram with custom buckets as a classic one: the observations up to each bound.
pub(super) fn classic(histogram: &Histogram) -> Vec<(f64, f64)> {
    let mut at = vec![0.0; histogram.custom_values.len() + 1];
    let mut index = 0i64;
    let counts = counts(histogram);
    let mut positive = counts.positive.iter();
    for span in &histogram.positive_spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let count = positive.next().copied().unwrap_or(0.0);
            if let Some(bucket) = usize::try_from(index).ok().and_then(|index| at.get_mut(index)) {
                *bucket += count;
            }
            index += 1;
        }
    }
    let mut cumulative = 0.0;
    let up_to = |(bound, count): (&f64, f64)| {
        cumulative += count;
        (*bound, cumulative)
    };
    histogram.custom_values.iter().zip(at).map(up_to).collect()
}

/// Counts as floats, whatever they were.
pub(super) struct FloatCounts {
    pub(super) count: f64,
    pub(super) zero: f64,
    pub(super) positive: Vec<f64>,
    pub(super) negative: Vec<f64>,
}

pub(super) fn counts(histogram: &Histogram) -> FloatCounts {
    use model::Counts::{Float, Int};
    let floats = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect();
    match &histogram.counts {
        Int { count, zero, positive, negative } => FloatCounts {
            count: *count as f64,
            zero: *zero as f64,
            positive: floats(positive),
            negative: floats(negative),
        },
        Float { count, zero, positive, negative } => {
            FloatCounts { count: *count, zero: *zero, positive: positive.clone(), negative: negative.clone() }
        }
    }
}
