use serde::{Deserialize, Serialize};

/// Who the ingesters are and how shards are placed on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The ingesters, each as `name=host:port`, or `name=host:port@zone`.
    pub members: Vec<String>,
    /// The name of this process among the members; an ingester that knows it refuses shards that another owns.
    pub instance: String,
    /// How many distributors there are, which share a tenant's rate.
    pub distributors: u32,
    /// Into how many shards a tenant's series are divided; a power of two.
    pub shards: u32,
    /// On how many ingesters each shard lies; 1 is the only number yet.
    pub replication_factor: u32,
}

/// The most shards: each is a lock and a sequence of cuts per tenant in every ingester that owns it.
const MAX_SHARDS: u32 = 4096;

impl Default for Config {
    fn default() -> Config {
        Config {
            members: Vec::new(),
            instance: String::new(),
            distributors: 1,
            shards: 64,
            replication_factor: 1,
        }
    }
}

impl Config {
    /// Every rule that is broken. Whether the members themselves make sense, `cluster` says.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if !self.shards.is_power_of_two() || self.shards > MAX_SHARDS {
            violations.push(format!(
                "cluster.shards is {}, must be a power of two up to {MAX_SHARDS}",
                self.shards
            ));
        }
        if self.distributors == 0 {
            violations.push("cluster.distributors must be greater than 0".to_string());
        }
        if self.replication_factor != 1 {
            violations.push(format!(
                "cluster.replication_factor is {}, but 1 is the only one there is yet",
                self.replication_factor
            ));
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_that_is_not_there_is_refused_by_name() {
        assert_eq!(Config::default().violations(), Vec::<String>::new());
        let wrong = Config { shards: 48, replication_factor: 3, ..Config::default() }.violations();
        assert!(wrong[0].contains("cluster.shards is 48"), "{wrong:?}");
        assert!(wrong[1].contains("cluster.replication_factor is 3"), "{wrong:?}");
    }
}
