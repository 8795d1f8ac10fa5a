//! Chance in the words of a generator.

use system_tests::Chance;

/// Draws that repeat with the seed.
#[derive(Debug, Clone)]
pub(super) struct Dice {
    chance: Chance,
}

impl Dice {
    /// The dice of one thing among many of the same seed.
    pub(super) fn new(seed: u64, which: u64) -> Dice {
        let mut chance = Chance::new(seed);
        let salt = chance.draw();
        Dice { chance: Chance::new(salt ^ which.wrapping_mul(0xD1B5_4A32_D192_ED03)) }
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.chance.below(bound as u64) as usize
    }

    /// From `low` up to and with `high`.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.chance.below((high - low + 1) as u64) as i64
    }

    /// True in so many of a hundred cases.
    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// In [0, 1), with all the digits that a double has.
    pub(super) fn unit(&mut self) -> f64 {
        (self.chance.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Some of them, in their order, at least one.
    pub(super) fn some<T: Copy>(&mut self, from: &[T]) -> Vec<T> {
        let mut some: Vec<T> = from.iter().copied().filter(|_| self.percent(40)).collect();
        if some.is_empty() {
            some.push(self.pick(from));
        }
        some
    }
}
