//! What several shards hold of a window, as one sequence in the order of a block.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use block::block_order;
use model::{ExemplarSeries, Labels, SeriesData};

use crate::flush::Piece;
use crate::head::{Frozen, Reading};

/// The series of several shards, one at a time and each once. It is the cuts' own, so that it can be left between two
/// files.
pub(crate) struct Merge<T> {
    sources: Vec<(Piece, Reading)>,
    next: BinaryHeap<Next<T>>,
}

/// What a series has in one table.
pub(crate) trait Content: Sized + Send + 'static {
    fn next_of(frozen: &Frozen, reading: &mut Reading) -> Option<Self>;
    fn labels(&self) -> &Labels;
    /// The same series, as all these shards know it.
    fn join(self, others: Vec<Self>) -> Self;
}

/// The next series of a source; the greatest is the first in the order of a block.
struct Next<T> {
    data: T,
    source: usize,
}

impl<T: Content> Merge<T> {
    /// Sorts the series and decodes the first of each shard.
    pub(crate) fn new(pieces: Vec<Piece>) -> Merge<T> {
        let sources = pieces.into_iter().map(|piece| (piece, Reading::default())).collect();
        let mut merge = Merge { sources, next: BinaryHeap::new() };
        (0..merge.sources.len()).for_each(|source| merge.advance(source));
        merge
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// The cuts.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.sources.iter().map(|(piece, _)| piece)
    }

    fn advance(&mut self, source: usize) {
        let (piece, reading) = &mut self.sources[source];
        if let Some(data) = T::next_of(&piece.frozen, reading) {
            self.next.push(Next { data, source });
        }
    }
}

impl<T: Content> Iterator for Merge<T> {
    /// A series and the shard it is of.
    type Item = (u32, T);

    fn next(&mut self) -> Option<(u32, T)> {
        let Next { data, source } = self.next.pop()?;
        self.advance(source);
        // A series is in two shards only when their number was changed.
        let mut others = Vec::new();
        while self.next.peek().is_some_and(|next| next.data.labels() == data.labels()) {
            let Some(same) = self.next.pop() else { break };
            self.advance(same.source);
            others.push(same.data);
        }
        let data = if others.is_empty() { data } else { data.join(others) };
        Some((self.sources[source].0.shard.number, data))
    }
}

impl Content for SeriesData {
    fn next_of(frozen: &Frozen, reading: &mut Reading) -> Option<SeriesData> {
        frozen.next_series(reading)
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn join(mut self, others: Vec<SeriesData>) -> SeriesData {
        others.into_iter().for_each(|other| self.absorb(other));
        self.merged()
    }
}

impl Content for ExemplarSeries {
    fn next_of(frozen: &Frozen, reading: &mut Reading) -> Option<ExemplarSeries> {
        frozen.next_exemplars(reading)
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn join(mut self, others: Vec<ExemplarSeries>) -> ExemplarSeries {
        self.exemplars.extend(others.into_iter().flat_map(|other| other.exemplars));
        self
    }
}

impl<T: Content> Ord for Next<T> {
    fn cmp(&self, other: &Next<T>) -> Ordering {
        block_order(other.data.labels(), self.data.labels()).then(other.source.cmp(&self.source))
    }
}

impl<T: Content> PartialOrd for Next<T> {
    fn partial_cmp(&self, other: &Next<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Content> PartialEq for Next<T> {
    fn eq(&self, other: &Next<T>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Content> Eq for Next<T> {}
