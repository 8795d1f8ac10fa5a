//! The answer in frames: a length, a checksum and a `prometheus.ChunkedReadResponse` with chunks of one series.

use chunk::{Chunk, chunks, chunks_with_starts};
use model::SeriesData;
use wire::QueryError;

use crate::protobuf::{delimited_len, put_bytes, put_len, put_number, put_varint};
use crate::raw::Encode;

/// Makes frames.
pub(super) struct Frames {
    max_bytes: usize,
    with_starts: bool,
}

impl Frames {
    /// Frames of at most so many bytes, unless a single chunk has more; with start timestamps for readers who know the
    /// chunks that have them.
    pub(super) fn new(max_bytes: usize, with_starts: bool) -> Frames {
        Frames { max_bytes, with_starts }
    }
}

impl Encode for Frames {
    fn page(&mut self, query: usize, series: &[SeriesData]) -> Result<Vec<u8>, QueryError> {
        let mut out = Vec::new();
        series.iter().for_each(|series| self.put(&mut out, query, series));
        Ok(out)
    }
}

impl Frames {
    /// Readers look at the first series of a frame only, so each has a frame of its own, or several.
    fn put(&self, out: &mut Vec<u8>, query: usize, series: &SeriesData) {
        let run = series.labels.run();
        let mut encoded = Vec::new();
        let chunks = if self.with_starts { chunks_with_starts(series) } else { chunks(series) };
        for chunk in chunks {
            let message = message(&chunk);
            if !encoded.is_empty()
                && run.len() + encoded.len() + delimited_len(message.len()) > self.max_bytes
            {
                put_frame(out, query, run, &encoded);
                encoded.clear();
            }
            put_bytes(&mut encoded, 2, &message);
        }
        if !encoded.is_empty() {
            put_frame(out, query, run, &encoded);
        }
    }
}

fn message(chunk: &Chunk) -> Vec<u8> {
    let mut message = Vec::with_capacity(chunk.data.len() + 32);
    put_number(&mut message, 1, chunk.min_time as u64);
    put_number(&mut message, 2, chunk.max_time as u64);
    put_number(&mut message, 3, chunk.encoding as u64);
    put_bytes(&mut message, 4, &chunk.data);
    message
}

/// Labels are kept in the form in which they are sent; `chunks` are fields already.
fn put_frame(out: &mut Vec<u8>, query: usize, run: &[u8], chunks: &[u8]) {
    let mut payload = Vec::with_capacity(run.len() + chunks.len() + 16);
    put_len(&mut payload, 1, run.len() + chunks.len());
    payload.extend_from_slice(run);
    payload.extend_from_slice(chunks);
    if query > 0 {
        put_number(&mut payload, 2, query as u64);
    }
    put_varint(out, payload.len() as u64);
    out.extend_from_slice(&crc32c::crc32c(&payload).to_be_bytes());
    out.extend_from_slice(&payload);
}
