use std::collections::BTreeMap;

use crate::action::Add;

type OptionalValues = BTreeMap<String, Option<String>>;

/// Between a tag's name and its value.
const IS: char = '\u{1f}';
/// After a tag.
const END: char = '\u{1e}';

/// What an add says that is needed only to say it again, in as few bytes as that takes: a table may have a hundred
/// thousand files, and a process thousands of tables.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    /// Where it is not the path itself.
    path: Option<Box<str>>,
    stats: Option<Box<str>>,
    partition: Partition,
    tags: Tags,
}

#[derive(Debug, Clone, PartialEq)]
enum Partition {
    /// The value of the one column `day`.
    Day(Box<str>),
    Other(Box<OptionalValues>),
}

#[derive(Debug, Clone, PartialEq)]
enum Tags {
    None,
    /// Name, [`IS`], value, [`END`], and so on.
    Packed(Box<str>),
    Other(Box<OptionalValues>),
}

impl Kept {
    pub(crate) fn of(add: Add, path: &str) -> Kept {
        Kept {
            path: (add.path != path).then(|| add.path.into()),
            stats: add.stats.map(Into::into),
            partition: Partition::of(add.partition_values),
            tags: add.tags.map_or(Tags::None, Tags::of),
        }
    }

    /// The add as it stood in the log, of a file whose rows are no change.
    pub(crate) fn add(&self, path: &str, size: u64, modification_time: i64) -> Add {
        Add {
            path: self.path.as_deref().unwrap_or(path).to_string(),
            partition_values: self.partition.values(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            modification_time,
            data_change: false,
            stats: self.stats.as_deref().map(str::to_string),
            tags: self.tags.values(),
            deletion_vector: None,
        }
    }

    /// The bytes that it holds elsewhere.
    pub(crate) fn held_bytes(&self) -> usize {
        let of = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let of_map = |values: &OptionalValues| {
            let of_value = |value: &Option<String>| value.as_ref().map_or(0, String::capacity);
            values.iter().map(|(name, value)| name.capacity() + of_value(value) + 96).sum()
        };
        let partition = match &self.partition {
            Partition::Day(day) => day.len(),
            Partition::Other(values) => of_map(values),
        };
        let tags = match &self.tags {
            Tags::None => 0,
            Tags::Packed(packed) => packed.len(),
            Tags::Other(values) => of_map(values),
        };
        of(&self.path) + of(&self.stats) + partition + tags
    }

    pub(crate) fn tag(&self, name: &str) -> Option<&str> {
        match &self.tags {
            Tags::None => None,
            Tags::Packed(packed) => tags(packed).find(|(known, _)| *known == name).map(|(_, value)| value),
            Tags::Other(values) => values.get(name)?.as_deref(),
        }
    }
}

impl Partition {
    fn of(mut values: OptionalValues) -> Partition {
        match values.remove("day") {
            Some(Some(day)) if values.is_empty() => Partition::Day(day.into()),
            day => {
                values.extend(day.map(|day| ("day".to_string(), day)));
                Partition::Other(Box::new(values))
            }
        }
    }

    fn values(&self) -> OptionalValues {
        match self {
            Partition::Day(day) => BTreeMap::from([("day".to_string(), Some(day.to_string()))]),
            Partition::Other(values) => OptionalValues::clone(values),
        }
    }
}

impl Tags {
    fn of(values: OptionalValues) -> Tags {
        let is_plain = |text: &str| !text.contains([IS, END]);
        let fits = |(name, value): (&String, &Option<String>)| {
            is_plain(name) && value.as_deref().is_some_and(is_plain)
        };
        if !values.iter().all(fits) {
            return Tags::Other(Box::new(values));
        }
        let mut packed = String::new();
        for (name, value) in &values {
            packed.push_str(name);
            packed.push(IS);
            packed.push_str(value.as_deref().unwrap_or_default());
            packed.push(END);
        }
        Tags::Packed(packed.into())
    }

    fn values(&self) -> Option<OptionalValues> {
        match self {
            Tags::None => None,
            Tags::Packed(packed) => {
                let owned = |(name, value): (&str, &str)| (name.to_string(), Some(value.to_string()));
                Some(tags(packed).map(owned).collect())
            }
            Tags::Other(values) => Some(OptionalValues::clone(values)),
        }
    }
}

fn tags(packed: &str) -> impl Iterator<Item = (&str, &str)> {
    packed.split_terminator(END).filter_map(|tag| tag.split_once(IS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_add_is_said_again_as_it_was_said() {
        let check = |add: Add| {
            let kept = Kept::of(add.clone(), "day=2026-11-21/a b.parquet");
            let size = u64::try_from(add.size).unwrap();
            assert_eq!(kept.add("day=2026-11-21/a b.parquet", size, add.modification_time), add);
            for (name, value) in add.tags.iter().flatten() {
                assert_eq!(kept.tag(name), value.as_deref(), "{name}");
            }
            assert_eq!(kept.tag("none"), None);
        };
        let some = |pairs: &[(&str, Option<&str>)]| -> OptionalValues {
            pairs.iter().map(|(name, value)| (name.to_string(), value.map(str::to_string))).collect()
        };
        let add = Add {
            path: "day=2026-11-21/a%20b.parquet".to_string(),
            partition_values: some(&[("day", Some("2026-11-21"))]),
            size: 7,
            modification_time: 8,
            data_change: false,
            stats: Some("{}".to_string()),
            tags: Some(some(&[("a", Some("1")), ("b", Some("")), ("c", Some("x,y"))])),
            deletion_vector: None,
        };
        check(add.clone());
        check(Add { stats: None, tags: None, ..add.clone() });
        check(Add {
            tags: Some(BTreeMap::new()),
            path: "day=2026-11-21/a b.parquet".to_string(),
            ..add.clone()
        });
        check(Add { tags: Some(some(&[("a", None), ("b\u{1f}", Some("\u{1e}"))])), ..add.clone() });
        check(Add { partition_values: some(&[("day", None)]), ..add.clone() });
        check(Add { partition_values: some(&[("day", Some("x")), ("hour", Some("1"))]), ..add.clone() });
        check(Add { partition_values: BTreeMap::new(), ..add });
    }
}
