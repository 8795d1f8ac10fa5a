use distributor::{Decoder, Workspace};
use limits::LimitsHandle;
use model::{Labels, Shards};
use runtime::{Clock, MemoryPart, Reservation};

pub fn decoder() -> Decoder {
    let shards = Shards { count: 4, spread: 2 };
    Decoder::new(LimitsHandle::default(), shards, Clock::manual(1_795_251_153_981).0, 1 << 20, 7)
}

pub fn reservation() -> Reservation {
    MemoryPart::new("fuzz", 256 << 20).reserve(0).expect("nothing is in use yet")
}

/// The columns belong together and every label run is canonical.
pub fn check(work: &Workspace) {
    for columns in &work.batch.shards {
        let (mut floats, mut histograms, mut exemplars) = (0, 0, 0);
        for series in &columns.series {
            let labels = Labels::from_run(work.batch.labels(series)).expect("a canonical run");
            assert_eq!(labels.id(), series.id);
            floats += series.n_floats as usize;
            histograms += series.n_histograms as usize;
            exemplars += series.n_exemplars as usize;
        }
        assert_eq!((columns.timestamps.len(), columns.values.len()), (floats, floats));
        assert_eq!((columns.histograms.len(), columns.exemplars.len()), (histograms, exemplars));
        for sample in &columns.histograms {
            assert_eq!(sample.histogram.validate(), Ok(()));
        }
    }
}
