//! The names of metrics and their series, worked out once for many resources and requests.

use std::sync::Arc;

use hashbrown::HashMap;

use super::header::{HISTOGRAM, SUMMARY};
use super::keys::Key;
use super::labels::push_label;
use super::names::{Kind, Naming, unit};

/// What a metric is called, and its series.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) name: String,
    /// As it stands in the description.
    pub(super) unit: String,
    pub(super) plain: SeriesName,
    pub(super) sum: SeriesName,
    pub(super) count: SeriesName,
    pub(super) bucket: SeriesName,
}

/// A `__name__` label, ready for a run, and what stands for it.
#[derive(Debug, Default)]
pub(super) struct SeriesName {
    pub(super) label: Vec<u8>,
    pub(super) key: Key,
}

/// The families that were met, of one set of rules.
#[derive(Debug, Default)]
pub(super) struct Families {
    naming: Naming,
    seed: u64,
    known: HashMap<Key, Arc<Family>>,
}

/// What the name of a metric follows from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) name: &'a [u8],
    pub(super) unit: &'a [u8],
    pub(super) kind: Kind,
    /// Field number of its kind of data.
    pub(super) data: u32,
}

/// More families than this are not kept, …
const MAX_FAMILIES: usize = 2048;
/// … nor one whose name and unit are longer.
const MAX_LEN: usize = 256;

impl Families {
    /// From here on these rules are in force. What was named by others is forgotten.
    pub(super) fn under(&mut self, naming: Naming, seed: u64) {
        if (self.naming, self.seed) != (naming, seed) {
            (self.naming, self.seed) = (naming, seed);
            self.known.clear();
        }
    }

    /// The family of a metric, or why it can have no name.
    pub(super) fn get(&mut self, given: Given<'_>) -> Result<Arc<Family>, String> {
        let of = |bytes| Key::of(bytes, self.seed);
        let rest = [given.kind as u8, given.data as u8];
        let key = of(given.name).and(of(given.unit)).and(of(&rest));
        if let Some(family) = self.known.get(&key) {
            return Ok(family.clone());
        }
        let family = Arc::new(Family::new(given, self.naming, self.seed)?);
        if given.name.len() + given.unit.len() <= MAX_LEN {
            if self.known.len() >= MAX_FAMILIES {
                self.known.clear();
            }
            self.known.insert(key, family.clone());
        }
        Ok(family)
    }
}

impl Family {
    fn new(given: Given<'_>, naming: Naming, seed: u64) -> Result<Family, String> {
        let unit_text = String::from_utf8_lossy(given.unit);
        let name = naming.metric(&String::from_utf8_lossy(given.name), &unit_text, given.kind)?;
        let series = |suffix: &str| {
            let mut label = Vec::new();
            push_label(&mut label, b"__name__", [&name, suffix].concat().as_bytes());
            let key = Key::of(&label, seed);
            SeriesName { label, key }
        };
        let (plain, unit) = (series(""), unit(&unit_text));
        Ok(match given.data {
            HISTOGRAM | SUMMARY => {
                let (sum, count, bucket) = (series("_sum"), series("_count"), series("_bucket"));
                Family { plain, sum, count, bucket, unit, name }
            }
            _ => Family { plain, unit, name, ..Family::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use limits::Limits;

    use super::super::header::{GAUGE, SUM};
    use super::*;

    fn given(name: &'static str, unit: &'static str, kind: Kind, data: u32) -> Given<'static> {
        Given { name: name.as_bytes(), unit: unit.as_bytes(), kind, data }
    }

    #[test]
    fn each_thing_that_a_name_follows_from_leads_to_another_family() {
        let mut families = Families::default();
        families.under(Naming::of(&Limits::default()), 7);
        for _ in 0..2 {
            let mut name = |given| families.get(given).unwrap().name.clone();
            assert_eq!(name(given("a.b", "s", Kind::Other, SUM)), "a_b_seconds");
            assert_eq!(name(given("a.b", "s", Kind::Counter, SUM)), "a_b_seconds_total");
            assert_eq!(name(given("a.b", "By", Kind::Other, SUM)), "a_b_bytes");
            assert_eq!(name(given("a.bs", "", Kind::Gauge, GAUGE)), "a_bs");
            assert_eq!(families.known.len(), 4);
        }
        let gauge = families.get(given("a", "", Kind::Other, GAUGE)).unwrap();
        let summary = families.get(given("a", "", Kind::Other, SUMMARY)).unwrap();
        assert!(gauge.count.label.is_empty() && !summary.count.label.is_empty());
    }

    #[test]
    fn other_rules_forget_the_families_and_there_are_never_too_many() {
        let mut families = Families::default();
        let naming = Naming::of(&Limits::default());
        families.under(naming, 7);
        let get = |families: &mut Families, name: &str| {
            let given = Given { name: name.as_bytes(), unit: b"", kind: Kind::Gauge, data: GAUGE };
            families.get(given).unwrap();
        };
        for i in 0..=MAX_FAMILIES {
            get(&mut families, &format!("m{i}"));
        }
        assert_eq!(families.known.len(), 1);
        get(&mut families, &"m".repeat(MAX_LEN + 1));
        assert_eq!(families.known.len(), 1, "a long one is not kept");
        families.under(naming, 7);
        assert_eq!(families.known.len(), 1);
        let mut other = naming;
        other.escapes = !naming.escapes;
        families.under(other, 7);
        assert_eq!(families.known.len(), 0);
    }
}
