use std::collections::HashMap;

/// Whose samples are taken, by group of replicas: the replica whose name sorts first among those that were heard
/// lately. It is found without asking anybody, so distributors that hear the same replicas agree.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    groups: HashMap<Box<str>, Elected>,
}

#[derive(Debug)]
struct Elected {
    replica: Box<str>,
    heard_ms: i64,
}

/// The tenant has as many groups as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyGroups;

/// A group that was not heard for this long does not count any more.
const FORGOTTEN_MS: i64 = 30 * 60 * 1000;

impl Elections {
    /// Whether the samples of a replica are taken. It is heard now.
    pub(crate) fn is_elected(
        &mut self,
        group: &str,
        replica: &str,
        now_ms: i64,
        timeout_ms: i64,
        max_groups: u32,
    ) -> Result<bool, TooManyGroups> {
        if let Some(elected) = self.groups.get_mut(group) {
            let is_silent = now_ms.saturating_sub(elected.heard_ms) > timeout_ms;
            if replica > &*elected.replica && !is_silent {
                return Ok(false);
            }
            if replica != &*elected.replica {
                tracing::info!(group, replica, instead_of = &*elected.replica, "another replica is elected");
                elected.replica = replica.into();
            }
            elected.heard_ms = now_ms;
            return Ok(true);
        }
        let is_full =
            |groups: &HashMap<Box<str>, Elected>| max_groups > 0 && groups.len() >= max_groups as usize;
        if is_full(&self.groups) || self.groups.len().is_power_of_two() {
            self.groups.retain(|_, elected| now_ms.saturating_sub(elected.heard_ms) <= FORGOTTEN_MS);
        }
        if is_full(&self.groups) {
            return Err(TooManyGroups);
        }
        self.groups.insert(group.into(), Elected { replica: replica.into(), heard_ms: now_ms });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributors_that_hear_the_same_replicas_agree() {
        let (mut one, mut other) = (Elections::default(), Elections::default());
        assert_eq!(one.is_elected("g", "a", 0, 30, 0), Ok(true));
        assert_eq!(other.is_elected("g", "b", 0, 30, 0), Ok(true), "it has heard no other yet");
        for now in 1..100 {
            assert_eq!(one.is_elected("g", "b", now, 30, 0), Ok(false));
            assert_eq!(one.is_elected("g", "a", now, 30, 0), Ok(true));
            assert_eq!(other.is_elected("g", "a", now, 30, 0), Ok(true));
            assert_eq!(other.is_elected("g", "b", now, 30, 0), Ok(false));
        }
    }

    #[test]
    fn a_silent_replica_is_replaced_after_the_timeout_and_comes_back() {
        let mut elections = Elections::default();
        let mut is_elected = |replica, now| elections.is_elected("g", replica, now, 30, 0).unwrap();
        assert!(is_elected("a", 0));
        assert!(!is_elected("b", 30));
        assert!(is_elected("b", 31));
        assert!(is_elected("b", 40) && !is_elected("c", 70));
        assert!(is_elected("a", 71), "the first by name is back");
        assert!(!is_elected("b", 72));
    }

    #[test]
    fn groups_over_the_limit_are_refused_until_others_are_forgotten() {
        let mut elections = Elections::default();
        for group in ["a", "b"] {
            assert_eq!(elections.is_elected(group, "x", 0, 30, 2), Ok(true));
        }
        assert_eq!(elections.is_elected("c", "x", FORGOTTEN_MS, 30, 2), Err(TooManyGroups));
        assert_eq!(elections.is_elected("b", "x", FORGOTTEN_MS, 30, 2), Ok(true));
        assert_eq!(elections.is_elected("c", "x", FORGOTTEN_MS + 1, 30, 2), Ok(true), "a is forgotten");
    }
}
