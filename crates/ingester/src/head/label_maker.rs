//! Labels as a projection wants them.

use hashbrown::HashTable;
use model::{Labels, run_labels};
use wire::Projection;
use xxhash_rust::xxh3::xxh3_64;

/// Makes labels of label runs. Those of which some pairs only are wanted are often the same: they are made once.
#[derive(Debug)]
pub(super) struct LabelMaker {
    projection: Projection,
    known: HashTable<Labels>,
    last: Labels,
    wanted: Vec<u8>,
}

impl LabelMaker {
    /// None made yet.
    pub(super) fn new(projection: &Projection) -> LabelMaker {
        let projection = projection.clone();
        LabelMaker { projection, known: HashTable::new(), last: Labels::empty(), wanted: Vec::new() }
    }

    /// The labels of a series with this canonical run; adds to `n_bytes` what they take.
    pub(super) fn make(&mut self, run: &[u8], n_bytes: &mut u64) -> Labels {
        if self.projection == Projection::All {
            *n_bytes += run.len() as u64;
            return Labels::of_canonical_run(run);
        }
        self.wanted.clear();
        for label in run_labels(run) {
            if self.projection.wants(label.name) {
                self.wanted.extend_from_slice(label.bytes);
            }
        }
        // Neighbours are series of one target: as a rule they have the same.
        if self.wanted != self.last.run() {
            self.last = self.find_or_make(n_bytes);
        }
        self.last.clone()
    }

    fn find_or_make(&mut self, n_bytes: &mut u64) -> Labels {
        let hash = xxh3_64(&self.wanted);
        if let Some(known) = self.known.find(hash, |known| known.run() == self.wanted) {
            return known.clone();
        }
        *n_bytes += self.wanted.len() as u64;
        let labels = Labels::of_canonical_run(&self.wanted);
        self.known.insert_unique(hash, labels.clone(), |known| xxh3_64(known.run()));
        labels
    }
}
