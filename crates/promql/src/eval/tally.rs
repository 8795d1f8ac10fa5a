use super::Grid;

/// Samples by step: those that were looked at, and those that were read. A window looks at all of its samples and reads
/// those that the window of the step before had not; what does not depend on the step is read once.
#[derive(Debug)]
pub(crate) struct Tally {
    looked_at: Vec<u64>,
    /// How many more were read than looked at. Mostly none, and then nothing is added here.
    surplus: Vec<i64>,
}

/// Where a subquery is used: by which steps, and for how long before each of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    pub(crate) grid: Grid,
    pub(crate) offset_ms: i64,
    pub(crate) range_ms: i64,
}

impl Tally {
    /// What it takes per step.
    pub(crate) const BYTES: usize = size_of::<u64>() + size_of::<i64>();

    pub(crate) fn new(steps: usize) -> Tally {
        Tally { looked_at: vec![0; steps], surplus: vec![0; steps] }
    }

    /// Samples that are looked at, and read for it, by step.
    pub(crate) fn looked_at(&mut self) -> &mut [u64] {
        &mut self.looked_at
    }

    /// A window of `n` samples, of which `n_read` had to be read.
    pub(crate) fn window(&mut self, step: usize, n: u64, n_read: u64) {
        self.looked_at[step] += n;
        self.surplus[step] += n_read as i64 - n as i64;
    }

    /// All that another counted by the same steps.
    pub(crate) fn add(&mut self, other: &Tally) {
        for (step, (n, surplus)) in other.looked_at.iter().zip(&other.surplus).enumerate() {
            self.looked_at[step] += n;
            self.surplus[step] += surplus;
        }
    }

    /// What one step looked at and is shown at every step: looked at by each, read for the first.
    pub(crate) fn repeat(&mut self, once: &Tally) {
        let (looked_at, read) = (once.total(), once.total_read());
        for step in 0..self.looked_at.len() {
            self.window(step, looked_at, if step == 0 { read } else { 0 });
        }
    }

    /// What was read for a subquery of which every step is shown, at a single time.
    pub(crate) fn whole_subquery(&mut self, inner: &Tally) {
        if !self.looked_at.is_empty() {
            self.window(0, inner.total(), inner.total_read());
        }
    }

    /// What was read for the steps of a subquery at the times of `inner`: it counts for the first step that uses it,
    /// and not at all where it lies between the windows of two. Of a single step nothing lies between.
    pub(crate) fn used_subquery(&mut self, inner: Grid, counted: &Tally, by: Use) {
        let Some(last) = self.surplus.len().checked_sub(1) else { return };
        if last == 0 {
            self.surplus[0] += counted.total_read() as i64;
            return;
        }
        for (read, time) in counted.read().zip(inner.times()) {
            let shown = time.saturating_add(by.offset_ms);
            let steps_before = shown.saturating_sub(by.grid.start).saturating_add(by.grid.interval - 1);
            let step = usize::try_from(steps_before / by.grid.interval).unwrap_or(0).min(last);
            let window_end = by.grid.start + step as i64 * by.grid.interval;
            if shown > window_end.saturating_sub(by.range_ms) {
                self.surplus[step] += read as i64;
            }
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.looked_at.iter().sum()
    }

    pub(crate) fn total_read(&self) -> u64 {
        self.read().sum()
    }

    /// Of each step how many were looked at and how many read.
    pub(crate) fn by_step(&self) -> impl Iterator<Item = (u64, u64)> {
        self.looked_at.iter().copied().zip(self.read())
    }

    fn read(&self) -> impl Iterator<Item = u64> {
        self.looked_at.iter().zip(&self.surplus).map(|(n, surplus)| n.saturating_add_signed(*surplus))
    }
}
