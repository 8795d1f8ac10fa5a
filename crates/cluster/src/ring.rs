use model::{Shards, TenantId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::placement;
use crate::{Member, MemberState};

/// Who is there and who has which shard, at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Ring {
    epoch: u64,
    shards: Shards,
    replication_factor: u32,
    members: Vec<Member>,
    /// Per shard the members that have it, the leader first, as indices into `members`.
    placed: Vec<Vec<u16>>,
}

/// Why a ring makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// A member is not written as it should be.
    #[error("cluster.members: {text:?}: {reason}")]
    Member {
        /// What stands there.
        text: String,
        /// What should.
        reason: &'static str,
    },
    /// Two members have the same name.
    #[error("cluster.members: {0:?} is there twice")]
    Twice(String),
    /// Nobody would hold anything.
    #[error("cluster.members is empty: name at least one ingester as name=host:port")]
    Empty,
    /// More members than can be numbered.
    #[error("cluster.members: {0} members, at most 65535 are possible")]
    TooMany(usize),
    /// `cluster.instance` is not a member.
    #[error("cluster.instance is {0:?}, which is none of cluster.members")]
    Stranger(String),
}

impl Ring {
    /// The ring of these members.
    pub fn new(
        epoch: u64,
        shards: Shards,
        replication_factor: u32,
        mut members: Vec<Member>,
    ) -> Result<Ring, RingError> {
        if members.is_empty() {
            return Err(RingError::Empty);
        }
        if members.len() > usize::from(u16::MAX) {
            return Err(RingError::TooMany(members.len()));
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(RingError::Twice(pair[0].name.clone()));
        }
        let placed = placement::place(&members, shards.count, replication_factor.max(1) as usize);
        Ok(Ring { epoch, shards, replication_factor, members, placed })
    }

    /// Grows with every change.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How series are spread.
    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// On how many members each shard should lie.
    pub fn replication_factor(&self) -> u32 {
        self.replication_factor
    }

    /// Everyone, by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        let at = self.members.binary_search_by(|member| member.name.as_str().cmp(name)).ok()?;
        self.members.get(at)
    }

    /// Those that have the shard, its leader first. Empty when no member takes writes or there is no such shard.
    pub fn replicas(&self, shard: u32) -> impl Iterator<Item = &Member> {
        let placed = self.placed.get(shard as usize).map_or(&[][..], Vec::as_slice);
        placed.iter().filter_map(|member| self.members.get(usize::from(*member)))
    }

    /// The member that speaks for the shard.
    pub fn leader(&self, shard: u32) -> Option<&Member> {
        self.replicas(shard).next()
    }

    /// Whether the member of that name has the shard.
    pub fn owns(&self, name: &str, shard: u32) -> bool {
        self.replicas(shard).any(|member| member.name == name)
    }

    /// Those that may hold samples which are in no table yet.
    pub fn readers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.state != MemberState::Joining)
    }

    /// The shard that keeps what belongs to the tenant as a whole: descriptions of metric families.
    pub fn shard_of_tenant(&self, tenant: &TenantId) -> u32 {
        (xxh3_64_with_seed(tenant.as_str().as_bytes(), 1) % u64::from(self.shards.count.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: Shards = Shards { count: 64, spread: 4 };

    fn ring_of(members: &[&str]) -> Result<Ring, RingError> {
        let members: Result<Vec<Member>, RingError> =
            members.iter().map(|text| Member::parse(text)).collect();
        Ring::new(1, SHARDS, 1, members?)
    }

    #[test]
    fn members_are_read_and_nonsense_is_named() {
        let ring = ring_of(&["b=10.0.0.2:9009@z2", "a=host:1", "c=[::1]:9009"]).unwrap();
        let names: Vec<&str> = ring.members().iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(ring.member("b").unwrap().zone, "z2");
        assert_eq!(ring.member("c").unwrap().address, "[::1]:9009");
        for (bad, reason) in [
            ("a", "name=host:port"),
            ("=h:1", "the name"),
            ("a b=h:1", "the name"),
            ("a=h", "host:port"),
            ("a=h:0", "1 to 65535"),
            ("a=:1", "host:port"),
            ("a=h:1@z z", "the zone"),
        ] {
            let error = ring_of(&[bad]).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("cluster.members"), "{error}");
        }
        assert_eq!(ring_of(&["a=h:1", "a=h:2"]), Err(RingError::Twice("a".to_string())));
        assert_eq!(ring_of(&[]), Err(RingError::Empty));
    }

    #[test]
    fn a_member_on_its_way_out_is_read_but_has_no_shard() {
        let mut members = ring_of(&["a=h:1", "b=h:2", "c=h:3"]).unwrap().members().to_vec();
        members[0].state = MemberState::Leaving;
        members[1].state = MemberState::Joining;
        let ring = Ring::new(2, SHARDS, 1, members).unwrap();
        assert!((0..64).all(|shard| ring.leader(shard).unwrap().name == "c"));
        assert!(ring.owns("c", 5) && !ring.owns("a", 5) && ring.leader(64).is_none());
        let readers: Vec<&str> = ring.readers().map(|member| member.name.as_str()).collect();
        assert_eq!(readers, ["a", "c"]);
    }
}
