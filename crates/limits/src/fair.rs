use std::collections::{HashMap, VecDeque};

/// A queue in which owners take turns; what one owner brought stays in order.
#[derive(Debug)]
pub struct Fair<T> {
    lanes: HashMap<String, VecDeque<T>>,
    /// The owners that have something waiting, the next one first.
    turns: VecDeque<String>,
    limit: usize,
}

impl<T> Fair<T> {
    /// At most `limit` items of one owner wait.
    pub fn new(limit: usize) -> Fair<T> {
        Fair { lanes: HashMap::new(), turns: VecDeque::new(), limit }
    }

    /// Puts an item behind the others of its owner; `false` when there are too many.
    pub fn push(&mut self, owner: &str, item: T) -> bool {
        if self.lanes.get(owner).map_or(0, VecDeque::len) >= self.limit {
            return false;
        }
        self.lane(owner).push_back(item);
        true
    }

    /// Puts an item back that was taken before, whose turn it is then.
    pub fn put_back(&mut self, owner: &str, item: T) {
        self.lane(owner).push_front(item);
    }

    /// The next item of the owner whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_where(|_| true)
    }

    /// The next item of the first owner in turn whose next item is wanted; those before keep their turn.
    pub fn pop_where(&mut self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let next = |owner: &String| self.lanes.get(owner).and_then(VecDeque::front);
        let at = self.turns.iter().position(|owner| next(owner).is_some_and(&is_wanted))?;
        let owner = self.turns.remove(at)?;
        let lane = self.lanes.get_mut(&owner)?;
        let item = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        item
    }

    /// Takes an item out, wherever it stands.
    pub fn remove(&mut self, owner: &str, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let lane = self.lanes.get_mut(owner)?;
        let removed = lane.iter().position(is_it).and_then(|at| lane.remove(at));
        if lane.is_empty() {
            self.lanes.remove(owner);
            self.turns.retain(|other| other != owner);
        }
        removed
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.lanes.values().map(VecDeque::len).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    fn lane(&mut self, owner: &str) -> &mut VecDeque<T> {
        if !self.lanes.contains_key(owner) {
            self.turns.push_back(owner.to_string());
        }
        self.lanes.entry(owner.to_string()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_take_turns_and_each_keeps_its_order() {
        let mut fair = Fair::new(3);
        for (owner, item) in [("a", 1), ("a", 2), ("a", 3), ("b", 10), ("c", 20), ("b", 11)] {
            assert!(fair.push(owner, item));
        }
        assert!(!fair.push("a", 4));
        assert_eq!(fair.len(), 6);
        assert_eq!(fair.pop(), Some(1));
        fair.put_back("a", 1);
        assert_eq!(fair.remove("c", |item| *item == 20), Some(20));
        assert_eq!(fair.remove("c", |item| *item == 20), None);
        let order: Vec<i32> = std::iter::from_fn(|| fair.pop()).collect();
        assert_eq!(order, [10, 1, 11, 2, 3]);
        assert!(fair.is_empty() && fair.lanes.is_empty());
    }

    #[test]
    fn an_owner_that_cannot_go_on_keeps_its_turn() {
        let mut fair = Fair::new(3);
        for (owner, item) in [("a", 1), ("b", 10), ("a", 2), ("c", 20)] {
            assert!(fair.push(owner, item));
        }
        assert_eq!(fair.pop_where(|item| *item >= 10), Some(10));
        assert_eq!(fair.pop_where(|item| *item > 20), None);
        assert_eq!((fair.pop(), fair.pop(), fair.pop()), (Some(1), Some(20), Some(2)));
    }

    #[test]
    fn an_owner_without_items_leaves_nothing_behind() {
        let mut fair = Fair::new(0);
        assert!(!fair.push("a", 1));
        assert_eq!(fair.pop(), None);
        assert!(fair.is_empty() && fair.turns.is_empty(), "who was refused has no turn");
    }
}
