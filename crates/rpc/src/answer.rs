//! Answers on their way out, chunk by chunk.

use std::sync::Arc;
use std::time::Instant;
use std::vec;

use model::{ExemplarSeries, Labels, Metadata};
use prost::Message as _;
use runtime::Clock;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use wire::{HeadStats, SelectBudget, SelectError};

use crate::convert::{self, CHUNK_BYTES, SeriesOut};
use crate::generated::firn;
use crate::generated::firn::{Charge, End, ErrorDetail};
use crate::stream::Chunk;

/// What is still to be sent.
pub(crate) trait Answer: Send + 'static {
    /// Its messages.
    type Chunk: Chunk + Default;

    /// The next message; `None` when all is sent.
    fn chunk(&mut self) -> Option<Self::Chunk>;
}

impl Answer for SeriesOut {
    type Chunk = firn::SelectResponse;

    fn chunk(&mut self) -> Option<firn::SelectResponse> {
        SeriesOut::chunk(self)
    }
}

/// A list, and how an item is put into a message; says how many bytes it takes there.
pub(crate) struct ListOut<T, C> {
    items: vec::IntoIter<T>,
    put: fn(T, &mut C) -> usize,
}

impl<T: Send + 'static, C: Chunk + Default> Answer for ListOut<T, C> {
    type Chunk = C;

    fn chunk(&mut self) -> Option<C> {
        let mut chunk = C::default();
        let mut len = 0;
        while len < CHUNK_BYTES {
            let Some(item) = self.items.next() else { break };
            len += (self.put)(item, &mut chunk) + 8;
        }
        (len > 0).then_some(chunk)
    }
}

pub(crate) fn labels(items: Vec<Labels>) -> ListOut<Labels, firn::SeriesResponse> {
    let put = |labels: Labels, chunk: &mut firn::SeriesResponse| {
        chunk.labels.push(convert::run(&labels));
        labels.run().len()
    };
    ListOut { items: items.into_iter(), put }
}

pub(crate) fn strings(items: Vec<String>) -> ListOut<String, firn::StringsResponse> {
    let put = |item: String, chunk: &mut firn::StringsResponse| {
        let len = item.len();
        chunk.items.push(item);
        len
    };
    ListOut { items: items.into_iter(), put }
}

pub(crate) fn exemplars(items: Vec<ExemplarSeries>) -> ListOut<ExemplarSeries, firn::ExemplarsResponse> {
    let put = |series: ExemplarSeries, chunk: &mut firn::ExemplarsResponse| {
        let own: usize = series.exemplars.iter().map(|point| 24 + point.labels.run().len()).sum();
        let len = series.labels.run().len() + own;
        chunk.series.push(convert::exemplars_to_wire(series));
        len
    };
    ListOut { items: items.into_iter(), put }
}

pub(crate) fn metadata(items: Vec<Metadata>) -> ListOut<Metadata, firn::MetadataResponse> {
    let put = |family: Metadata, chunk: &mut firn::MetadataResponse| {
        let len = family.family.len() + family.unit.len() + family.help.len();
        chunk.items.push(convert::family_to_wire(family));
        len
    };
    ListOut { items: items.into_iter(), put }
}

pub(crate) fn head_stats(stats: HeadStats) -> ListOut<firn::HeadStatsItem, firn::HeadStatsResponse> {
    let put = |item: firn::HeadStatsItem, chunk: &mut firn::HeadStatsResponse| {
        let len = item.encoded_len();
        chunk.items.push(item);
        len
    };
    ListOut { items: convert::head_stats_items(stats).into_iter(), put }
}

/// What holds a place among the selects and memory until an answer is sent or its caller gone.
pub(crate) struct Held {
    pub(crate) budget: Arc<SelectBudget>,
    pub(crate) deadline: Instant,
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// The messages of an answer: the first says what it costs, the last that it is whole.
pub(crate) struct Chunks<A> {
    answer: A,
    charge: Option<Charge>,
    end: Option<End>,
    held: Held,
    clock: Clock,
}

impl<A: Answer> Chunks<A> {
    /// `before` is what the query had used when it came.
    pub(crate) fn new(answer: A, end: End, before: Charge, held: Held, clock: Clock) -> Chunks<A> {
        let now = used(&held.budget);
        let charge = Charge {
            series: now.series.saturating_sub(before.series),
            samples: now.samples.saturating_sub(before.samples),
            bytes: now.bytes.saturating_sub(before.bytes),
        };
        Chunks { answer, charge: Some(charge), end: Some(end), held, clock }
    }
}

impl<A: Answer> Iterator for Chunks<A> {
    type Item = Result<A::Chunk, Status>;

    fn next(&mut self) -> Option<Result<A::Chunk, Status>> {
        self.end.as_ref()?;
        if self.clock.instant() > self.held.deadline {
            self.end = None;
            return Some(Err(ErrorDetail::from(SelectError::Timeout).into_status()));
        }
        let next = self.answer.chunk();
        let end = if next.is_none() { self.end.take() } else { None };
        let mut chunk = next.unwrap_or_default();
        chunk.mark(self.charge.take(), end);
        Some(Ok(chunk))
    }
}

/// What a query has used.
pub(crate) fn used(budget: &SelectBudget) -> Charge {
    Charge { series: budget.series.used(), samples: budget.samples.used(), bytes: budget.bytes.used() }
}
