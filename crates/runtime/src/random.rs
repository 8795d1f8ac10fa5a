use std::hash::{BuildHasher, Hasher, RandomState};

/// A random number from the operating system's entropy (by way of the keys of [`RandomState`], which are drawn
/// from it for each thread and differ for each state). For ids and jitter, not for secrets.
pub fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_repeat() {
        let drawn: std::collections::HashSet<u64> = (0..1000).map(|_| random_u64()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
