use std::fmt;

use serde::Serialize;

use crate::{Member, Ring};

/// What `/ring` shows: as text by its `Display`, as JSON by its `Serialize`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// Of the snapshot.
    pub epoch: u64,
    /// The rule of placement.
    pub placement_version: u32,
    /// How many shards there are.
    pub shards: u32,
    /// On how many members each should lie.
    pub replication_factor: u32,
    /// Everyone, by name.
    pub members: Vec<PageMember>,
}

/// A line of the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageMember {
    /// Who.
    #[serde(flatten)]
    pub member: Member,
    /// The shards that it leads.
    pub leads: Vec<u32>,
    /// How many shards it has in all.
    pub n_shards: usize,
}

impl Ring {
    /// The page of this snapshot.
    pub fn page(&self) -> Page {
        let shards = 0..self.shards().count;
        let line = |member: &Member| PageMember {
            member: member.clone(),
            leads: shards
                .clone()
                .filter(|shard| self.leader(*shard).is_some_and(|leader| leader.name == member.name))
                .collect(),
            n_shards: shards.clone().filter(|shard| self.owns(&member.name, *shard)).count(),
        };
        Page {
            epoch: self.epoch(),
            placement_version: crate::PLACEMENT_VERSION,
            shards: self.shards().count,
            replication_factor: self.replication_factor(),
            members: self.members().iter().map(line).collect(),
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Page { epoch, placement_version, shards, replication_factor, .. } = self;
        writeln!(
            f,
            "epoch {epoch}, {shards} shards on {replication_factor}, placement version {placement_version}"
        )?;
        writeln!(
            f,
            "{:<24} {:<24} {:<12} {:<8} {:>6}  leads",
            "member", "address", "zone", "state", "shards"
        )?;
        for PageMember { member, leads, n_shards } in &self.members {
            let leads: Vec<String> = leads.iter().map(u32::to_string).collect();
            let Member { name, address, zone, state } = member;
            let (state, leads) = (state.as_str(), leads.join(" "));
            writeln!(f, "{name:<24} {address:<24} {zone:<12} {state:<8} {n_shards:>6}  {leads}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Shards;

    #[test]
    fn the_page_accounts_for_every_shard_once() {
        let members = ["a=h:1@z1", "b=h:2@z2"].map(|text| Member::parse(text).unwrap());
        let ring = Ring::new(7, Shards { count: 16, spread: 4 }, 1, members.to_vec()).unwrap();
        let page = ring.page();
        let mut led: Vec<u32> = page.members.iter().flat_map(|line| line.leads.clone()).collect();
        led.sort_unstable();
        assert_eq!(led, (0..16).collect::<Vec<u32>>());
        let text = page.to_string();
        assert!(text.starts_with("epoch 7, 16 shards on 1") && text.contains("z2"), "{text}");
    }
}
