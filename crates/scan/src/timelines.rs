//! The timestamps of what a query reads: those of a row as far as they are wanted, and those of rows that follow each
//! other as one list, which all series share whose rows have the same.

use std::collections::HashMap;
use std::sync::Arc;

use block::read::Clip;
use model::TimeRange;

use crate::matched::NONE;

/// Lists of timestamps, and how they follow each other.
#[derive(Debug)]
pub(crate) struct Timelines {
    range: TimeRange,
    clips: Vec<Known>,
    by_number: HashMap<(u32, u32), u32>,
    nodes: Vec<Node>,
    children: HashMap<(u32, u32), u32>,
}

/// A timeline of a file.
#[derive(Debug)]
struct Known {
    clip: Clip,
    /// The list that this one followed last time, and what came of it: the series of a target do alike.
    last: (u32, u32),
}

/// A list of timestamps after others.
#[derive(Debug)]
struct Node {
    before: u32,
    times: Arc<[i64]>,
    last: i64,
    joined: Option<Arc<[i64]>>,
}

impl Timelines {
    pub(crate) fn new(range: TimeRange) -> Timelines {
        Timelines {
            range,
            clips: Vec::new(),
            by_number: HashMap::new(),
            nodes: Vec::new(),
            children: HashMap::new(),
        }
    }

    /// The index of a file's timeline with these timestamps.
    pub(crate) fn of_file(&mut self, file: usize, number: u32, times: &Arc<[i64]>) -> u32 {
        *self.by_number.entry((file as u32, number)).or_insert_with(|| {
            self.clips.push(Known { clip: Clip::new(times, self.range), last: (NONE, NONE) });
            self.clips.len() as u32 - 1
        })
    }

    /// A timeline, as far as it is wanted.
    pub(crate) fn clip(&self, index: u32) -> Option<&Clip> {
        self.clips.get(index as usize).map(|known| &known.clip)
    }

    /// Timestamps of a row's own, as far as they are wanted.
    pub(crate) fn own_clip(&self, times: &Arc<[i64]>) -> Clip {
        Clip::new(times, self.range)
    }

    /// Whether timestamps from `first` on come after those of the node.
    pub(crate) fn follows(&self, node: u32, first: i64) -> bool {
        self.nodes.get(node as usize).is_some_and(|node| node.last < first)
    }

    /// The timestamps of a node and of a file's timeline after them.
    pub(crate) fn after(&mut self, before: u32, index: u32) -> u32 {
        let Some(known) = self.clips.get_mut(index as usize) else { return before };
        if known.last.0 == before && known.last.1 != NONE {
            return known.last.1;
        }
        let node = *self.children.entry((before, index)).or_insert_with(|| {
            self.nodes.push(Node::new(before, Arc::clone(&known.clip.times)));
            self.nodes.len() as u32 - 1
        });
        known.last = (before, node);
        node
    }

    /// The timestamps of a node and a row's own after them.
    pub(crate) fn after_own(&mut self, before: u32, times: Arc<[i64]>) -> u32 {
        self.nodes.push(Node::new(before, times));
        self.nodes.len() as u32 - 1
    }

    /// All timestamps up to a node's, if it is one that follows others.
    pub(crate) fn joined(&mut self, node: u32) -> Option<Arc<[i64]>> {
        let at = self.nodes.get(node as usize).filter(|node| node.before != NONE)?;
        if let Some(joined) = &at.joined {
            return Some(Arc::clone(joined));
        }
        let mut parts = Vec::new();
        let mut next = node;
        while let Some(node) = self.nodes.get(next as usize) {
            parts.push(&node.times);
            next = node.before;
        }
        let joined: Vec<i64> = parts.iter().rev().flat_map(|times| times.iter().copied()).collect();
        let joined: Arc<[i64]> = joined.into();
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.joined = Some(Arc::clone(&joined));
        }
        Some(joined)
    }
}

impl Node {
    fn new(before: u32, times: Arc<[i64]>) -> Node {
        let last = times.last().copied().unwrap_or(i64::MIN);
        Node { before, times, last, joined: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_with_the_same_timelines_share_the_joined_one() {
        let mut timelines = Timelines::new(TimeRange::new(2, 100));
        let list = |times: &[i64]| -> Arc<[i64]> { times.into() };
        let (a, b, c) = (list(&[1, 2, 3]), list(&[4, 5]), list(&[3, 6]));
        let (a, b, c) =
            (timelines.of_file(0, 7, &a), timelines.of_file(1, 7, &b), timelines.of_file(1, 8, &c));
        let mut joined = Vec::new();
        for _ in 0..2 {
            for second in [b, c] {
                let first = timelines.after(NONE, a);
                assert!(timelines.joined(first).is_none(), "a timeline by itself is no joined one");
                let node = timelines.after(first, second);
                joined.push(timelines.joined(node).unwrap());
            }
        }
        assert_eq!((&*joined[0], &*joined[1]), (&[2, 3, 4, 5][..], &[2, 3, 3, 6][..]));
        assert!(Arc::ptr_eq(&joined[0], &joined[2]) && Arc::ptr_eq(&joined[1], &joined[3]));
        let first = timelines.after(NONE, a);
        assert!(timelines.follows(first, 4) && !timelines.follows(first, 3) && !timelines.follows(NONE, 9));
        let node = timelines.after_own(first, list(&[9]));
        assert_eq!(&*timelines.joined(node).unwrap(), &[2, 3, 9]);
    }
}
