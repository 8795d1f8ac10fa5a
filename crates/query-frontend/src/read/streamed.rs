//! The answer in frames: a length, a checksum and a `prometheus.ChunkedReadResponse` with chunks of one series.

use chunk::{Chunk, chunks};
use model::SeriesData;
use wire::QueryError;

use crate::protobuf::{delimited_len, put_bytes, put_len, put_number, put_varint};
use crate::raw::Encode;

/// Makes frames.
pub(super) struct Frames {
    max_bytes: usize,
}

impl Frames {
    /// Frames of at most so many bytes, unless a single chunk has more.
    pub(super) fn new(max_bytes: usize) -> Frames {
        Frames { max_bytes }
    }
}

impl Encode for Frames {
    fn page(&mut self, query: usize, series: &[SeriesData]) -> Result<Vec<u8>, QueryError> {
        let mut out = Vec::new();
        series.iter().for_each(|series| put_frames(&mut out, query, series, self.max_bytes));
        Ok(out)
    }
}

/// Readers look at the first series of a frame only, so each has a frame of its own, or several.
fn put_frames(out: &mut Vec<u8>, query: usize, series: &SeriesData, max_bytes: usize) {
    let run = series.labels.run();
    let mut encoded = Vec::new();
    for chunk in chunks(series) {
        let message = message(&chunk);
        if !encoded.is_empty() && run.len() + encoded.len() + delimited_len(message.len()) > max_bytes {
            put_frame(out, query, run, &encoded);
            encoded.clear();
        }
        put_bytes(&mut encoded, 2, &message);
    }
    if !encoded.is_empty() {
        put_frame(out, query, run, &encoded);
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
