//! The answer whole: `prometheus.ReadResponse` in one snappy block.
//!
//! Its parts begin with their lengths, so nothing can leave before all is read. What is held meanwhile is packed: a snappy
//! block is its length and then pieces that do not know of each other, so each 64 KiB are packed for themselves, and the
//! beginning of a part is packed when its length is known.

use axum::body::{Body, Bytes};
use futures::stream;
use model::{FloatColumn, SeriesData};
use runtime::{MemoryPart, OverBudget, Reservation};
use wire::{QueryError, SelectError};

use super::histogram;
use crate::error::ApiError;
use crate::protobuf::{delimited_len, put_double, put_len, put_number, put_varint, varint_len};
use crate::raw::Pages;

/// Bytes that snappy packs at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// More samples than an answer of this form may have.
    TooManySamples(u64),
    Failed(QueryError),
}

impl Refusal {
    pub(super) fn into_error(self, failed: impl Fn(QueryError) -> ApiError) -> ApiError {
        match self {
            Refusal::TooManySamples(limit) => ApiError::bad_data(format!(
                "exceeded sample limit ({limit}): query_frontend.remote_read.sample_limit; \
                 a streamed answer (STREAMED_XOR_CHUNKS) has none"
            )),
            Refusal::Failed(error) => failed(error),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Refusal {
        Refusal::Failed(error)
    }
}

impl From<OverBudget> for Refusal {
    fn from(over: OverBudget) -> Refusal {
        Refusal::Failed(QueryError::Select(SelectError::Unavailable(over.to_string())))
    }
}

/// Reads everything and packs it; at most `limit` samples a query, 0 for no limit.
pub(super) async fn encode(
    queries: impl Iterator<Item = Pages>,
    limit: u64,
    memory: &MemoryPart,
) -> Result<Body, Refusal> {
    let mut whole = Packed::new(memory)?;
    for mut pages in queries {
        let mut result = Packed::new(memory)?;
        let mut n_samples = 0;
        while let Some(page) = pages.next().await? {
            let packing = runtime::blocking(move || {
                let mut left = if limit == 0 { u64::MAX } else { limit - n_samples };
                for series in &page.series {
                    let n = count(series);
                    left = left.checked_sub(n).ok_or(Refusal::TooManySamples(limit))?;
                    n_samples += n;
                    put_series(&mut result, series)?;
                }
                Ok::<_, Refusal>((result, n_samples))
            });
            let packed = packing.await.map_err(QueryError::Internal)?;
            (result, n_samples) = packed?;
        }
        result.flush()?;
        whole.put_part(1, result)?;
    }
    whole.flush()?;
    Ok(whole.into_body())
}

/// A `TimeSeries` into a `QueryResult`.
fn put_series(out: &mut Packed, series: &SeriesData) -> Result<(), Refusal> {
    let floats = || series.floats.iter().flat_map(FloatColumn::samples);
    let run = series.labels.run();
    let histograms: Vec<Vec<u8>> =
        series.histograms.iter().map(|point| histogram::encode(point.timestamp, &point.histogram)).collect();
    let float_bytes: usize = floats().map(|(time, _)| delimited_len(sample_len(time))).sum();
    let histogram_bytes: usize = histograms.iter().map(|message| delimited_len(message.len())).sum();
    let mut bytes = Vec::with_capacity(PIECE_BYTES.min(run.len() + float_bytes) + 64);
    put_len(&mut bytes, 1, run.len() + float_bytes + histogram_bytes);
    // Labels are kept in the form in which they are sent.
    bytes.extend_from_slice(run);
    for (time, value) in floats() {
        put_len(&mut bytes, 2, sample_len(time));
        put_double(&mut bytes, 1, value);
        put_number(&mut bytes, 2, time as u64);
        if bytes.len() >= PIECE_BYTES {
            out.put(&bytes)?;
            bytes.clear();
        }
    }
    for message in histograms {
        put_len(&mut bytes, 4, message.len());
        bytes.extend_from_slice(&message);
    }
    out.put(&bytes)
}

fn sample_len(time: i64) -> usize {
    1 + 8 + 1 + varint_len(time as u64)
}

fn count(series: &SeriesData) -> u64 {
    let n_floats: usize = series.floats.iter().map(|column| column.samples().count()).sum();
    (n_floats + series.histograms.len()) as u64
}

/// Bytes, packed piece by piece.
struct Packed {
    pieces: Vec<Bytes>,
    /// What is not packed yet.
    open: Vec<u8>,
    /// How many bytes it is unpacked.
    len: usize,
    reserved: Reservation,
}

impl Packed {
    fn new(memory: &MemoryPart) -> Result<Packed, OverBudget> {
        Ok(Packed { pieces: Vec::new(), open: Vec::new(), len: 0, reserved: memory.reserve(0)? })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.open.extend_from_slice(bytes);
        if self.open.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        let open = std::mem::take(&mut self.open);
        for piece in open.chunks(PIECE_BYTES) {
            let packed = pack(piece)?;
            self.reserved.grow(packed.len() as u64)?;
            self.len += piece.len();
            self.pieces.push(packed);
        }
        Ok(())
    }

    /// Puts a message into a field.
    fn put_part(&mut self, field: u64, part: Packed) -> Result<(), Refusal> {
        let mut head = Vec::new();
        put_len(&mut head, field, part.len);
        self.put(&head)?;
        self.flush()?;
        self.len += part.len;
        self.reserved.grow(part.pieces.iter().map(|piece| piece.len() as u64).sum())?;
        self.pieces.extend(part.pieces);
        Ok(())
    }

    /// The whole as one block: its length, then the pieces.
    fn into_body(self) -> Body {
        let mut len = Vec::new();
        put_varint(&mut len, self.len as u64);
        let reserved = self.reserved;
        let pieces = std::iter::once(Bytes::from(len)).chain(self.pieces).map(move |piece| {
            let _held_until_all_is_sent = &reserved;
            Ok::<_, std::convert::Infallible>(piece)
        });
        Body::from_stream(stream::iter(pieces))
    }
}

/// A piece as it stands within a block, which is a block without its length.
fn pack(piece: &[u8]) -> Result<Bytes, QueryError> {
    let packed =
        snap::raw::Encoder::new().compress_vec(piece).map_err(|e| QueryError::Internal(e.to_string()))?;
    Ok(Bytes::from(packed).slice(varint_len(piece.len() as u64)..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn what_is_packed_in_pieces_unpacks_as_a_whole() {
        let memory = MemoryPart::new("test", 10 << 20);
        let mut whole = Packed::new(&memory).unwrap();
        let mut part = Packed::new(&memory).unwrap();
        let bytes: Vec<u8> = (0..300_000u32).flat_map(|i| (i % 1000).to_le_bytes()).collect();
        bytes.chunks(7_777).for_each(|chunk| part.put(chunk).unwrap());
        part.flush().unwrap();
        whole.put_part(1, part).unwrap();
        whole.put(b"end").unwrap();
        whole.flush().unwrap();
        assert!(memory.used() > 0);
        let packed = whole.into_body().collect().await.unwrap().to_bytes();
        let mut expected = Vec::new();
        put_len(&mut expected, 1, bytes.len());
        expected.extend_from_slice(&bytes);
        expected.extend_from_slice(b"end");
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&packed).unwrap(), expected);
        assert_eq!(memory.used(), 0);
    }
}
