use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{METRIC_NAME, TenantId, run_labels};

/// How many shards a cluster has and how widely one target's series are spread over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    /// A power of two.
    pub count: u32,
    /// `k`: into how many shards the series of one target may fall; 1 in one process.
    pub spread: u32,
}

/// The shard of the series with this canonical label run, version 1 of the rule: xxh3-64 (seed 1) over
/// `tenant 0xFF job 0xFF instance 0xFF (xxh3-64(__name__) mod k, little endian u32)`, modulo the shard count.
/// A series with neither job nor instance hashes its whole run instead. So the series of one target, which share
/// their timestamps, lie together.
pub fn shard_of(tenant: &TenantId, run: &[u8], shards: Shards) -> u32 {
    let (mut job, mut instance, mut name): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
    for label in run_labels(run) {
        match label.name {
            b"job" => job = label.value,
            b"instance" => instance = label.value,
            other if other == METRIC_NAME.as_bytes() => name = label.value,
            _ => {}
        }
    }
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(tenant.as_str().as_bytes());
    key.push(0xFF);
    if job.is_empty() && instance.is_empty() {
        key.extend_from_slice(run);
    } else {
        key.extend_from_slice(job);
        key.push(0xFF);
        key.extend_from_slice(instance);
        key.push(0xFF);
        let part = xxh3_64_with_seed(name, 1) % u64::from(shards.spread.max(1));
        key.extend_from_slice(&(part as u32).to_le_bytes());
    }
    (xxh3_64_with_seed(&key, 1) % u64::from(shards.count.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;

    #[test]
    fn the_series_of_one_target_share_a_shard() {
        let tenant = TenantId::anonymous();
        let one = Shards { count: 64, spread: 1 };
        let shard = |name: &str, instance: &str| {
            let labels = Labels::from_pairs([("__name__", name), ("job", "node"), ("instance", instance)]);
            shard_of(&tenant, labels.run(), one)
        };
        assert_eq!(shard("a", "x"), shard("b", "x"));
        let spread: std::collections::HashSet<u32> = (0..100).map(|i| shard("a", &format!("h{i}"))).collect();
        assert!(spread.len() > 40);
    }

    #[test]
    fn the_rule_is_versioned_so_its_answers_never_change() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node"), ("instance", "h1:9100")]);
        let shards = Shards { count: 64, spread: 4 };
        assert_eq!(shard_of(&TenantId::anonymous(), labels.run(), shards), 24);
    }
}
