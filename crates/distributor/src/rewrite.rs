use std::collections::BTreeMap;

use limits::Limits;
use model::{push_label, runs};

use crate::canonical::normalize;
use crate::proto::Malformed;

/// What the tenant's rules make of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays as it came.
    Unchanged,
    /// Its labels were written anew.
    Rewritten,
    /// It is left out.
    Dropped,
}

/// One of several senders of the same series, as its labels name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The group.
    pub cluster: String,
    /// Which one of it.
    pub name: String,
}

/// Whether the tenant's limits change labels at all.
#[inline]
pub(crate) fn is_needed(limits: &Limits) -> bool {
    limits.accept_ha_samples || !limits.metric_relabel_configs.is_empty()
}

/// Changes the labels of a raw run: the replica's label goes, then the relabelling rules follow. Labels that are no
/// text or repeat a name stay as they are, to be refused by their own rules.
pub(crate) fn rewrite(raw: &[u8], limits: &Limits, out: &mut Vec<u8>) -> Result<Fate, Malformed> {
    let Some(mut labels) = read(raw)? else { return Ok(Fate::Unchanged) };
    let has = |name: &String| labels.contains_key(name);
    let is_replica =
        limits.accept_ha_samples && has(&limits.ha_cluster_label) && has(&limits.ha_replica_label);
    if is_replica {
        labels.remove(&limits.ha_replica_label);
    }
    if !limits.metric_relabel_configs.apply(&mut labels) || labels.is_empty() {
        return Ok(Fate::Dropped);
    }
    out.clear();
    for (name, value) in &labels {
        push_label(out, name, value);
    }
    Ok(Fate::Rewritten)
}

/// The replica that sends a series with this raw run, if replicas are told apart and its labels name one.
pub(crate) fn replica(raw: &[u8], limits: &Limits) -> Result<Option<Replica>, Malformed> {
    let Some(mut labels) = read(raw)? else { return Ok(None) };
    let (cluster, name) = (labels.remove(&limits.ha_cluster_label), labels.remove(&limits.ha_replica_label));
    let is_short = |text: &String| text.len() <= MAX_NAME;
    Ok(match (cluster.filter(is_short), name.filter(is_short)) {
        (Some(cluster), Some(name)) => Some(Replica { cluster, name }),
        _ => None,
    })
}

/// A longer name of a group or a replica is none: it would be kept.
const MAX_NAME: usize = 1024;

/// The labels with a value; `None` when one is not UTF-8 or a name is there twice.
fn read(raw: &[u8]) -> Result<Option<BTreeMap<String, String>>, Malformed> {
    let mut plain = Vec::with_capacity(raw.len());
    if !normalize(raw, &mut plain)? {
        return Ok(None);
    }
    let mut labels = BTreeMap::new();
    for (name, value) in runs(&plain).filter(|(_, value)| !value.is_empty()) {
        if labels.insert(name.to_string(), value.to_string()).is_some() {
            return Ok(None);
        }
    }
    Ok(Some(labels))
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn check(limits: &Limits, labels: &[(&str, &str)]) -> (Fate, Labels) {
        let mut raw = Vec::new();
        labels.iter().for_each(|(name, value)| push_label(&mut raw, name, value));
        let mut out = Vec::new();
        let fate = rewrite(&raw, limits, &mut out).unwrap();
        (fate, Labels::from_run(&out).unwrap())
    }

    #[test]
    fn the_replica_goes_only_where_a_group_is_named() {
        let limits = Limits { accept_ha_samples: true, ..Limits::default() };
        let pair = [("__replica__", "a"), ("__name__", "up"), ("cluster", "x")];
        assert_eq!(
            check(&limits, &pair),
            (Fate::Rewritten, Labels::from_pairs([("__name__", "up"), ("cluster", "x")]))
        );
        let alone = [("__replica__", "a"), ("__name__", "up")];
        assert_eq!(check(&limits, &alone).1, Labels::from_pairs(alone));
        let twice = [("__name__", "up"), ("a", "1"), ("a", "2")];
        assert_eq!(check(&limits, &twice).0, Fate::Unchanged);
    }

    #[test]
    fn a_series_without_labels_is_left_out() {
        let rules = r#"[{"regex": ".*", "action": "labeldrop"}]"#;
        let limits =
            Limits { metric_relabel_configs: serde_json::from_str(rules).unwrap(), ..Limits::default() };
        assert_eq!(check(&limits, &[("__name__", "up")]).0, Fate::Dropped);
    }

    #[test]
    fn a_replica_is_named_by_both_labels() {
        let limits = Limits::default();
        let name = |labels: &[(&str, &str)]| {
            let mut raw = Vec::new();
            labels.iter().for_each(|(name, value)| push_label(&mut raw, name, value));
            replica(&raw, &limits).unwrap().map(|replica| (replica.cluster, replica.name))
        };
        let expected = Some(("x".to_string(), "a".to_string()));
        assert_eq!(name(&[("__name__", "up"), ("__replica__", "a"), ("cluster", "x")]), expected);
        assert_eq!(name(&[("__name__", "up"), ("cluster", "x")]), None);
        assert_eq!(name(&[("__replica__", ""), ("cluster", "x")]), None);
        assert_eq!(name(&[("__replica__", &"a".repeat(1025)), ("cluster", "x")]), None);
    }
}
