//! Series of a target have their samples at the same times. What depends on times alone is computed for the first of them
//! and kept for the others.

use std::collections::HashMap;

use super::{EvalError, Lease};

/// Cells that a cache keeps at most, by the steps of its entries: a few megabytes.
const KEPT_CELLS: usize = 1 << 16;

/// Lists of times that begin, end and count alike and that are told apart; others are taken for new ones.
const MOST_ALIKE: usize = 4;

/// Numbers the lists of times of some series: equal lists have one number, as a rule.
#[derive(Default)]
pub(super) struct Timelines<'d> {
    known: Vec<&'d [i64]>,
    last: usize,
    alike: HashMap<(usize, i64, i64), Vec<usize>>,
}

impl<'d> Timelines<'d> {
    /// The number of a list; an empty one has none.
    pub(super) fn number(&mut self, times: &'d [i64]) -> Option<usize> {
        let (first, last) = (*times.first()?, *times.last()?);
        if self.known.get(self.last).is_some_and(|known| std::ptr::eq(*known, times)) {
            return Some(self.last);
        }
        let alike = self.alike.entry((times.len(), first, last)).or_default();
        let shared = alike.iter().find(|number| std::ptr::eq(self.known[**number], times));
        let equal = || alike.iter().find(|number| self.known[**number] == times);
        self.last = match shared.or_else(equal) {
            Some(number) => *number,
            None => {
                if alike.len() == MOST_ALIKE {
                    alike.remove(0);
                }
                alike.push(self.known.len());
                self.known.push(times);
                self.known.len() - 1
            }
        };
        Some(self.last)
    }
}

/// What was computed of lists of times, by their numbers.
pub(super) struct ByTimeline<'e, T> {
    kept: Vec<Option<T>>,
    /// Cells that may still be kept.
    left: usize,
    room: Lease<'e>,
    /// Of a list without a number, or of one that came when there was no room: the latest.
    loose: Option<(Vec<i64>, T)>,
}

/// Something computed of a list of times.
pub(super) enum Computed<'c, T> {
    /// It stays.
    Kept(&'c mut T),
    /// It may be gone when the next list comes.
    Loose(&'c mut T),
}

impl<'e, T> ByTimeline<'e, T> {
    /// Nothing yet; what will be kept is accounted for in `room`.
    pub(super) fn new(room: Lease<'e>) -> ByTimeline<'e, T> {
        ByTimeline { kept: Vec::new(), left: KEPT_CELLS, room, loose: None }
    }

    /// What was computed of this list, or is computed now: so many cells of so many bytes.
    pub(super) fn of(
        &mut self,
        (number, times): (Option<usize>, &[i64]),
        (cells, cell_bytes): (usize, usize),
        compute: impl FnOnce() -> T,
    ) -> Result<Computed<'_, T>, EvalError> {
        if let Some(number) = number {
            if self.kept.len() <= number {
                self.kept.resize_with(number + 1, || None);
            }
            if self.kept[number].is_some() || self.left >= cells {
                let place = &mut self.kept[number];
                if place.is_none() {
                    self.left -= cells;
                    self.room.grow(cells * cell_bytes)?;
                }
                return Ok(Computed::Kept(place.get_or_insert_with(compute)));
            }
        }
        if self.loose.as_ref().is_some_and(|(known, _)| known != times) {
            self.loose = None;
        }
        let (_, computed) = self.loose.get_or_insert_with(|| (times.to_vec(), compute()));
        Ok(Computed::Loose(computed))
    }

    /// All that was kept.
    pub(super) fn kept(&mut self) -> impl Iterator<Item = &mut T> {
        self.kept.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_have_one_number_wherever_they_lie() {
        let (a, b, c): (Vec<i64>, Vec<i64>, Vec<i64>) = (vec![1, 2, 4], vec![1, 2, 4], vec![1, 3, 4]);
        let mut timelines = Timelines::default();
        let numbers = [&a, &b, &c, &a, &Vec::new()].map(|times| timelines.number(times));
        assert_eq!(numbers, [Some(0), Some(0), Some(1), Some(0), None]);
    }

    #[test]
    fn lists_that_cannot_be_told_apart_at_once_are_never_mistaken_for_each_other() {
        let lists: Vec<[i64; 3]> = (1..10).map(|middle| [0, middle, 10]).collect();
        let mut timelines = Timelines::default();
        let numbers: Vec<usize> = lists.iter().filter_map(|times| timelines.number(times)).collect();
        assert_eq!(numbers, (0..9).collect::<Vec<_>>());
    }
}
