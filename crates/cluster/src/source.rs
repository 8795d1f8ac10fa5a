use std::sync::Arc;

use model::Shards;
use tokio::sync::watch;

use crate::{Config, Member, Ring, RingError};

/// The newest snapshot, and word of the next one.
pub type RingWatch = watch::Receiver<Arc<Ring>>;

/// Into how many shards the series of one target may fall in a cluster.
pub const SPREAD: u32 = 4;

/// The ring of a list that does not change while the process lives. Its epoch is 1 everywhere.
pub fn fixed(config: &Config) -> Result<RingWatch, RingError> {
    let members = config.members.iter().map(|text| Member::parse(text));
    let members = members.collect::<Result<Vec<Member>, RingError>>()?;
    let shards = Shards { count: config.shards, spread: SPREAD };
    let ring = Ring::new(1, shards, config.replication_factor, members)?;
    if !config.instance.is_empty() && ring.member(&config.instance).is_none() {
        return Err(RingError::Stranger(config.instance.clone()));
    }
    // The sender may go: the last value stays readable.
    Ok(watch::channel(Arc::new(ring)).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_configuration_becomes_a_ring() {
        let config = Config {
            members: vec!["a=h:1".to_string(), "b=h:2".to_string()],
            instance: "b".to_string(),
            ..Config::default()
        };
        let watch = fixed(&config).unwrap();
        let ring = watch.borrow();
        assert_eq!(
            (ring.epoch(), ring.shards(), ring.members().len()),
            (1, Shards { count: 64, spread: 4 }, 2)
        );
        let stranger = Config { instance: "c".to_string(), ..config };
        assert!(fixed(&stranger).unwrap_err().to_string().contains("cluster.instance is \"c\""));
    }
}
