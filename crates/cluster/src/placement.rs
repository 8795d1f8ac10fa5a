//! Placement, version 1, as docs/format/ring.md specifies it.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Member, MemberState};

/// The version of the rule. A ring whose members follow different rules would have two owners for a shard.
pub const PLACEMENT_VERSION: u32 = 1;

/// How many points of the circle a member has: with 256 the shares of ten members differ by some ten percent.
pub const TOKENS_PER_MEMBER: u32 = 256;

/// The members that have each shard, the leader first, as indices into `members`.
pub(crate) fn place(members: &[Member], shards: u32, replicas: usize) -> Vec<Vec<u16>> {
    let circle = circle(members);
    (0..shards).map(|shard| walk(members, &circle, shard_point(shard), replicas)).collect()
}

/// The tokens of all members that take writes, in order; members with the same token come by name.
fn circle(members: &[Member]) -> Vec<(u64, u16)> {
    let writers = members.iter().enumerate().filter(|(_, member)| member.state == MemberState::Active);
    let mut circle: Vec<(u64, u16)> = writers
        .flat_map(|(i, member)| (0..TOKENS_PER_MEMBER).map(move |n| (token(&member.name, n), i as u16)))
        .collect();
    circle.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| members[usize::from(a.1)].name.cmp(&members[usize::from(b.1)].name))
    });
    circle
}

/// The first `replicas` members at or after the point that differ from each other and, while there are zones without
/// one, in their zones.
fn walk(members: &[Member], circle: &[(u64, u16)], point: u64, replicas: usize) -> Vec<u16> {
    let start = circle.partition_point(|(token, _)| *token < point);
    let around = || circle[start..].iter().chain(&circle[..start]).map(|(_, member)| *member);
    let mut chosen: Vec<u16> = Vec::with_capacity(replicas);
    let zone = |member: u16| members[usize::from(member)].zone.as_str();
    for member in around() {
        if chosen.len() == replicas {
            return chosen;
        }
        let zone_taken = chosen.iter().any(|other| !zone(member).is_empty() && zone(*other) == zone(member));
        if !chosen.contains(&member) && !zone_taken {
            chosen.push(member);
        }
    }
    // Fewer zones than replicas: the rest lies where there is room.
    for member in around() {
        if chosen.len() < replicas && !chosen.contains(&member) {
            chosen.push(member);
        }
    }
    chosen
}

/// xxh3-64 (seed 1) of `name 0xFF n`, `n` as little-endian u32.
pub(crate) fn token(name: &str, n: u32) -> u64 {
    let mut key = Vec::with_capacity(name.len() + 5);
    key.extend_from_slice(name.as_bytes());
    key.push(0xFF);
    key.extend_from_slice(&n.to_le_bytes());
    xxh3_64_with_seed(&key, 1)
}

/// xxh3-64 (seed 1) of the shard's number as little-endian u32.
pub(crate) fn shard_point(shard: u32) -> u64 {
    xxh3_64_with_seed(&shard.to_le_bytes(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hashring::HashRing;
    use proptest::prelude::*;
    use std::hash::{Hash, Hasher};
    use xxhash_rust::xxh3::Xxh3Builder;

    fn members(names: impl IntoIterator<Item = String>, zones: usize) -> Vec<Member> {
        let member = |(i, name): (usize, String)| Member {
            address: format!("{name}:9009"),
            zone: if zones == 0 { String::new() } else { format!("z{}", i % zones) },
            name,
            state: MemberState::Active,
        };
        let mut members: Vec<Member> = names.into_iter().enumerate().map(member).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }

    fn numbered(n: usize) -> Vec<Member> {
        members((0..n).map(|i| format!("ingester-{i}")), 0)
    }

    /// What hashring hashes: the bytes as they are, without the length that `[u8]` would write first.
    #[derive(Clone)]
    struct Raw(Vec<u8>, String);

    impl Hash for Raw {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write(&self.0);
        }
    }

    #[test]
    fn leaders_are_those_that_the_crate_hashring_finds() {
        let members = numbered(7);
        let mut oracle = HashRing::with_hasher(Xxh3Builder::new().with_seed(1));
        for member in &members {
            for n in 0..TOKENS_PER_MEMBER {
                let key = [member.name.as_bytes(), &[0xFF], &n.to_le_bytes()].concat();
                oracle.add(Raw(key, member.name.clone()));
            }
        }
        for (shard, placed) in place(&members, 1024, 1).iter().enumerate() {
            let expected = oracle.get(&Raw((shard as u32).to_le_bytes().to_vec(), String::new())).unwrap();
            assert_eq!(members[usize::from(placed[0])].name, expected.1, "shard {shard}");
        }
    }

    #[test]
    fn the_rule_is_versioned_so_its_answers_never_change() {
        let leaders: Vec<u16> = place(&numbered(3), 16, 1).iter().map(|placed| placed[0]).collect();
        assert_eq!((PLACEMENT_VERSION, leaders), (1, vec![1, 1, 0, 1, 1, 2, 2, 2, 2, 0, 2, 1, 2, 0, 0, 0]));
    }

    #[test]
    fn every_member_has_about_its_share() {
        let placed = place(&numbered(10), 4096, 1);
        for member in 0..10 {
            let n = placed.iter().filter(|placed| placed[0] == member).count();
            assert!((280..=560).contains(&n), "member {member} has {n} of 4096 shards");
        }
    }

    proptest! {
        #[test]
        fn a_new_member_takes_its_share_and_moves_nothing_else(n in 1usize..20, extra in "[a-z]{1,12}") {
            let before = numbered(n);
            let mut with: Vec<Member> = before.clone();
            with.extend(members([extra.clone()], 0));
            with.sort_by(|a, b| a.name.cmp(&b.name));
            let (old, new) = (place(&before, 1024, 1), place(&with, 1024, 1));
            let mut moved = 0;
            for (was, is) in old.iter().zip(&new) {
                let (was, is) = (&before[usize::from(was[0])].name, &with[usize::from(is[0])].name);
                if was != is {
                    prop_assert_eq!(is, &extra);
                    moved += 1;
                }
            }
            let share = 1024 / (n + 1);
            prop_assert!(moved <= share * 3 / 2 + 20, "moved {} where {} is the share", moved, share);
            prop_assert!(moved >= share / 2 - share / 8, "moved {} where {} is the share", moved, share);
        }

        #[test]
        fn replicas_differ_and_lie_in_different_zones_while_there_are_any(
            n in 1usize..12, zones in 0usize..5, replicas in 1usize..5,
        ) {
            let members = members((0..n).map(|i| format!("m{i:02}")), zones);
            for placed in place(&members, 64, replicas) {
                prop_assert_eq!(placed.len(), replicas.min(n));
                let mut distinct = placed.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), placed.len());
                let mut in_zones: Vec<&str> =
                    placed.iter().map(|m| members[usize::from(*m)].zone.as_str()).collect();
                in_zones.sort_unstable();
                in_zones.dedup();
                if zones > 0 {
                    prop_assert_eq!(in_zones.len(), replicas.min(zones).min(n));
                }
            }
        }
    }
}
