use std::collections::HashMap;
use std::sync::Arc;

use model::Labels;

/// What a pair takes beside its value: two references, its count, its place in the map, the allocation's own.
const PAIR_BYTES: usize = 96;

/// Every label pair of a file with the number of series that have it.
#[derive(Default)]
pub(crate) struct LabelPairs {
    names: Vec<Name>,
    n_bytes: usize,
    /// The pairs of the previous series by position: neighbours in label order share most of them.
    previous: Vec<(usize, usize)>,
}

struct Name {
    name: String,
    by_value: HashMap<Arc<str>, usize>,
    values: Vec<(Arc<str>, i64)>,
}

impl LabelPairs {
    pub(crate) fn add(&mut self, labels: &Labels) {
        for (position, (name, value)) in labels.iter().enumerate() {
            let pair = match self.previous.get(position) {
                Some(&(n, v)) if self.names[n].name == name && &*self.names[n].values[v].0 == value => (n, v),
                _ => self.find(name, value),
            };
            self.names[pair.0].values[pair.1].1 += 1;
            if position < self.previous.len() {
                self.previous[position] = pair;
            } else {
                self.previous.push(pair);
            }
        }
    }

    /// The memory that the pairs take, about.
    pub(crate) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Name, value and number of series, sorted. A pair is given free as soon as it was taken.
    pub(crate) fn into_sorted(mut self) -> impl Iterator<Item = (String, Arc<str>, i64)> {
        self.names.sort_by(|a, b| a.name.cmp(&b.name));
        self.names.into_iter().flat_map(|Name { name, by_value, mut values }| {
            drop(by_value);
            values.sort();
            values.into_iter().map(move |(value, series)| (name.clone(), value, series))
        })
    }

    fn find(&mut self, name: &str, value: &str) -> (usize, usize) {
        let n = self.names.iter().position(|known| known.name == name).unwrap_or_else(|| {
            self.names.push(Name { name: name.to_string(), by_value: HashMap::new(), values: Vec::new() });
            self.names.len() - 1
        });
        let entry = &mut self.names[n];
        if let Some(&v) = entry.by_value.get(value) {
            return (n, v);
        }
        let value: Arc<str> = value.into();
        self.n_bytes += value.len() + PAIR_BYTES;
        entry.by_value.insert(Arc::clone(&value), entry.values.len());
        entry.values.push((value, 0));
        (n, entry.values.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_is_there_once_with_its_series() {
        let mut pairs = LabelPairs::default();
        for i in 0..4 {
            pairs.add(&Labels::from_pairs([("job", "a"), ("i", &(i % 3).to_string())]));
        }
        pairs.add(&Labels::from_pairs([("z", "a")]));
        let sorted: Vec<_> = pairs.into_sorted().map(|(n, v, c)| format!("{n}={v}:{c}")).collect();
        assert_eq!(sorted, ["i=0:2", "i=1:1", "i=2:1", "job=a:4", "z=a:1"]);
    }
}
