use std::fmt;

use serde::Serialize;

use crate::RingError;

/// An ingester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its name; placement follows from it, so a member that comes back under its name has its shards again.
    pub name: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// What fails together with it; may be empty.
    pub zone: String,
    /// What it may be asked.
    pub state: MemberState,
}

/// What a member may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// On its way in: asked neither to write nor to read.
    Joining,
    /// Writes and reads.
    #[default]
    Active,
    /// On its way out: has no shard any more, but may hold samples that are in no table yet.
    Leaving,
}

impl Member {
    /// Reads `name=host:port` or `name=host:port@zone`.
    pub fn parse(text: &str) -> Result<Member, RingError> {
        let invalid = |reason| RingError::Member { text: text.to_string(), reason };
        let (name, rest) = text.split_once('=').ok_or_else(|| invalid("write it as name=host:port"))?;
        let (address, zone) = rest.split_once('@').unwrap_or((rest, ""));
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_word) {
            return Err(invalid("the name is 1 to 128 characters of A-Z, a-z, 0-9, '-', '_' and '.'"));
        }
        if zone.len() > MAX_NAME || !zone.chars().all(is_word) {
            return Err(invalid("the zone is up to 128 characters of A-Z, a-z, 0-9, '-', '_' and '.'"));
        }
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            return Err(invalid("the address is host:port with a port of 1 to 65535"));
        }
        Ok(Member {
            name: name.to_string(),
            address: address.to_string(),
            zone: zone.to_string(),
            state: MemberState::Active,
        })
    }
}

const MAX_NAME: usize = 128;

impl MemberState {
    /// The state in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberState::Joining => "joining",
            MemberState::Active => "active",
            MemberState::Leaving => "leaving",
        }
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
