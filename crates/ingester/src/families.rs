//! The descriptions of a tenant's metric families: logged when they are news, kept until the tenant falls silent, and
//! brought into the table `metadata` once.

use std::collections::{BTreeMap, HashSet};

use model::{Metadata, MetricType, SeenMetadata};
use wal::Lsn;

/// The most families that are kept of one tenant.
const MAX_FAMILIES: usize = 50_000;

/// The most descriptions of one family: targets disagree while a new release is rolled out, and not in hundreds of
/// ways. Further ones are not taken as long as these are kept.
const MAX_DESCRIPTIONS: usize = 10;

/// Memory of a description beside its texts: map entry, list, allocations.
const OVERHEAD: usize = 160;

/// Descriptions of metric families.
#[derive(Debug, Default)]
pub(crate) struct Families {
    /// By family, the newest first.
    by_name: BTreeMap<String, Vec<Described>>,
    /// How many are not known to be in the table.
    n_waiting: usize,
    /// The oldest record that is needed to find those again.
    pub(crate) needed_from: Option<Lsn>,
    /// Whether those that wait were looked for in the table since this process began, or since a commit whose end is
    /// not known.
    pub(crate) is_compared: bool,
    /// When descriptions last came, by the clock.
    touched_ms: i64,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Described {
    metric_type: MetricType,
    unit: String,
    help: String,
    seen_ms: i64,
    in_table: bool,
}

impl Families {
    /// Which of these descriptions are news.
    pub(crate) fn news<'a>(&mut self, metadata: &'a [Metadata], now_ms: i64) -> Vec<&'a Metadata> {
        self.touched_ms = now_ms;
        // One request may say the same many times.
        let mut said = HashSet::new();
        let mut n_new = 0;
        let mut news = Vec::new();
        for one in metadata {
            let known = self.by_name.get(&one.family).map_or(&[][..], Vec::as_slice);
            let has_place = if known.is_empty() {
                self.by_name.len() + n_new < MAX_FAMILIES
            } else {
                known.len() < MAX_DESCRIPTIONS
            };
            let is_news = has_place && !known.iter().any(|described| described.is(one));
            if is_news && said.insert((&one.family, one.metric_type, &one.unit, &one.help)) {
                n_new += usize::from(known.is_empty());
                news.push(one);
            }
        }
        news
    }

    /// Keeps a description that the record `lsn` holds, unless it is there.
    pub(crate) fn put(&mut self, metadata: &Metadata, seen_ms: i64, lsn: Lsn) {
        self.needed_from = Some(self.needed_from.map_or(lsn, |from| from.min(lsn)));
        self.touched_ms = self.touched_ms.max(seen_ms);
        let known = self.by_name.entry(metadata.family.clone()).or_default();
        if known.len() >= MAX_DESCRIPTIONS || known.iter().any(|described| described.is(metadata)) {
            return;
        }
        let at = known.partition_point(|described| described.seen_ms > seen_ms);
        let Metadata { metric_type, unit, help, .. } = metadata.clone();
        self.bytes += OVERHEAD + metadata.family.len() + unit.len() + help.len();
        known.insert(at, Described { metric_type, unit, help, seen_ms, in_table: false });
        self.n_waiting += 1;
    }

    /// The descriptions of one family or of all, by family, the newest of each first.
    pub(crate) fn list(&self, family: Option<&str>) -> Vec<Metadata> {
        let wanted = self.by_name.iter().filter(|(name, _)| family.is_none_or(|family| family == *name));
        wanted.flat_map(|(name, all)| all.iter().map(|described| described.to_metadata(name))).collect()
    }

    /// Those that are not known to be in the table.
    pub(crate) fn waiting(&self) -> Vec<SeenMetadata> {
        if self.n_waiting == 0 {
            return Vec::new();
        }
        let waiting = |(name, all): (&String, &Vec<Described>)| -> Vec<SeenMetadata> {
            let of_name = all.iter().filter(|described| !described.in_table);
            of_name
                .map(|one| SeenMetadata { metadata: one.to_metadata(name), seen_ms: one.seen_ms })
                .collect()
        };
        self.by_name.iter().flat_map(waiting).collect()
    }

    /// These are in the table.
    pub(crate) fn note_in_table(&mut self, rows: &[SeenMetadata]) {
        for row in rows {
            let all = self.by_name.get_mut(&row.metadata.family);
            let found = all.and_then(|all| all.iter_mut().find(|described| described.is(&row.metadata)));
            if let Some(described) = found.filter(|described| !described.in_table) {
                described.in_table = true;
                self.n_waiting -= 1;
            }
        }
        if self.n_waiting == 0 {
            self.needed_from = None;
        }
    }

    /// Whether there is something that the table may not have.
    pub(crate) fn is_waiting(&self) -> bool {
        self.n_waiting > 0
    }

    /// Lets go of everything when nothing waits and nothing came since `since_ms`: whoever comes back says it again.
    pub(crate) fn forget_idle(&mut self, since_ms: i64) {
        if self.n_waiting == 0 && self.touched_ms < since_ms && !self.by_name.is_empty() {
            *self = Families::default();
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Described {
    fn is(&self, metadata: &Metadata) -> bool {
        let Metadata { metric_type, unit, help, .. } = metadata;
        (self.metric_type, &self.unit, &self.help) == (*metric_type, unit, help)
    }

    fn to_metadata(&self, family: &str) -> Metadata {
        let Described { metric_type, unit, help, .. } = self.clone();
        Metadata { family: family.to_string(), metric_type, unit, help }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(family: &str, help: &str) -> Metadata {
        let (family, help) = (family.to_string(), help.to_string());
        Metadata { family, metric_type: MetricType::Gauge, unit: String::new(), help }
    }

    #[test]
    fn only_what_was_not_said_before_is_news() {
        let mut families = Families::default();
        let (a, b) = (described("up", "a"), described("up", "b"));
        let first = [a.clone(), b.clone(), a.clone()];
        assert_eq!(families.news(&first, 1), [&a, &b]);
        families.put(&a, 1, 7);
        families.put(&b, 2, 8);
        assert_eq!(families.news(&first, 3), Vec::<&Metadata>::new());
        assert_eq!(families.list(None), [b.clone(), a.clone()], "the newest first");
        assert_eq!(families.list(Some("down")), []);
        families.note_in_table(&[SeenMetadata { metadata: a.clone(), seen_ms: 9 }]);
        let waiting: Vec<Metadata> = families.waiting().into_iter().map(|row| row.metadata).collect();
        assert_eq!((waiting, families.needed_from), (vec![b.clone()], Some(7)));
        families.forget_idle(i64::MAX);
        assert!(families.is_waiting(), "what waits is kept");
        families.note_in_table(&families.waiting());
        assert_eq!((families.is_waiting(), families.needed_from), (false, None));
        families.forget_idle(3);
        assert_eq!(families.list(None).len(), 2);
        families.forget_idle(4);
        assert_eq!((families.list(None).len(), families.bytes()), (0, 0));
    }

    #[test]
    fn a_family_has_no_more_descriptions_than_it_may() {
        let mut families = Families::default();
        for n in 0..100 {
            families.put(&described("up", &n.to_string()), n, 1);
        }
        assert_eq!(families.list(None).len(), MAX_DESCRIPTIONS);
        assert_eq!(families.news(&[described("up", "100")], 5), Vec::<&Metadata>::new());
        assert_eq!(families.waiting().len(), MAX_DESCRIPTIONS);
    }
}
