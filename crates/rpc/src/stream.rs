//! Answers that come in chunks: what they announce, what they cost, and that they end.

use tonic::Streaming;
use wire::{SelectBudget, SelectError};

use crate::convert::Malformed;
use crate::generated::firn;
use crate::generated::firn::error_detail::Kind;
use crate::generated::firn::{Charge, End, ErrorDetail};

/// A message of an answer.
pub(crate) trait Chunk: Send + 'static {
    /// What the answer costs of the query's limits, in the first chunk.
    fn charge(&mut self) -> Option<Charge>;

    /// In the last chunk.
    fn end(&mut self) -> Option<End>;

    /// Makes it the first, the last, or both.
    fn mark(&mut self, charge: Option<Charge>, end: Option<End>);
}

macro_rules! chunks {
    ($($message:ident),+) => {
        $(impl Chunk for firn::$message {
            fn charge(&mut self) -> Option<Charge> {
                self.charge.take()
            }

            fn end(&mut self) -> Option<End> {
                self.end.take()
            }

            fn mark(&mut self, charge: Option<Charge>, end: Option<End>) {
                self.charge = charge;
                self.end = end;
            }
        })+
    };
}

chunks!(
    SelectResponse,
    SeriesResponse,
    StringsResponse,
    ExemplarsResponse,
    MetadataResponse,
    HeadStatsResponse
);

/// Gives each chunk to `take`, which says what it cost.
pub(crate) async fn collect<C: Chunk>(
    mut stream: Streaming<C>,
    budget: &SelectBudget,
    far: &str,
    mut take: impl FnMut(C) -> Result<Charge, Malformed>,
) -> Result<End, ErrorDetail> {
    let mut bill = Bill::default();
    loop {
        let chunk = stream.message().await.map_err(|status| ErrorDetail::from_status(&status, far))?;
        let Some(mut chunk) = chunk else {
            return Err(ErrorDetail::unavailable(format!("{far}: the answer ended early")));
        };
        if let Some(charge) = chunk.charge() {
            bill.announced(charge, budget)?;
        }
        let end = chunk.end();
        let malformed = |e: Malformed| ErrorDetail::of(Kind::Internal, format!("{far}: {e}"));
        let cost = take(chunk).map_err(malformed)?;
        bill.came(cost, budget)?;
        if let Some(end) = end {
            return Ok(end);
        }
    }
}

/// What was taken from the budget, and what came.
#[derive(Default)]
struct Bill {
    taken: Charge,
    came: Charge,
}

impl Bill {
    fn announced(&mut self, charge: Charge, budget: &SelectBudget) -> Result<(), SelectError> {
        self.take(charge, budget)
    }

    /// The far side charges by how it holds the samples. Whatever it says, what comes is paid for.
    fn came(&mut self, cost: Charge, budget: &SelectBudget) -> Result<(), SelectError> {
        self.came.series += cost.series;
        self.came.samples += cost.samples;
        self.came.bytes += cost.bytes;
        let more = Charge {
            series: self.came.series.saturating_sub(self.taken.series),
            samples: self.came.samples.saturating_sub(self.taken.samples),
            bytes: self.came.bytes.saturating_sub(self.taken.bytes),
        };
        self.take(more, budget)
    }

    fn take(&mut self, charge: Charge, budget: &SelectBudget) -> Result<(), SelectError> {
        let Charge { series, samples, bytes } = charge;
        for (meter, n) in [(&budget.series, series), (&budget.samples, samples), (&budget.bytes, bytes)] {
            if n > 0 {
                meter.take(n)?;
            }
        }
        self.taken.series += series;
        self.taken.samples += samples;
        self.taken.bytes += bytes;
        Ok(())
    }
}
