use std::io::Read;

use axum::http::{HeaderMap, header};
use limits::Limits;
use runtime::{OverBudget, Reservation};
use zstd::zstd_safe::get_frame_content_size;

use crate::decoder::Workspace;

/// Who sends, as far as it decides how to answer. A sender repeats what it takes for a passing fault: what would
/// make one drop a bad request may make another send it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Prometheus, the Collector and everyone else: 4xx other than 429 is final.
    Standard,
    /// vmagent with snappy: 400 and 409 are final, other 4xx are sent again.
    Vmagent,
    /// vmagent with zstd: 409 is final, 400 and 415 make it pack the block again as snappy and stay with snappy,
    /// others are sent again.
    VmagentZstd,
}

/// The message of a remote write request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// `prometheus.WriteRequest`.
    One,
    /// `io.prometheus.write.v2.Request`: its sender wants to be told how much was written.
    Two,
}

/// What the headers of a remote write request say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) sender: Sender,
    pub(crate) version: Version,
}

/// Why a write request is not understood (415).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsupported {
    #[error(
        "unsupported Content-Type {0:?}, send application/x-protobuf with proto=io.prometheus.write.v2.Request or proto=prometheus.WriteRequest"
    )]
    Type(String),
    #[error("unsupported Content-Type {0:?}, send application/x-protobuf or application/json")]
    OtlpType(String),
    #[error("unsupported Content-Encoding {0:?}, send {1}")]
    Encoding(String, &'static str),
}

/// Why a body was not decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// What arrives is larger than allowed.
    #[error("the request body is larger than the limit max_body_bytes of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// It would be, once decompressed.
    #[error("the request body decompresses to {} bytes, the limit max_body_bytes is {limit}", at_least(.declared))]
    Inflates {
        /// What the body announces, if it does.
        declared: Option<u64>,
        /// The limit.
        limit: u64,
    },
    /// The codec does not understand it.
    #[error("the request body is not valid {codec}: {what}")]
    Corrupt {
        /// Which one.
        codec: &'static str,
        /// What it says.
        what: String,
    },
    /// Nothing there.
    #[error("the request body is empty")]
    Empty,
    /// The memory for requests in flight is used up.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

fn at_least(declared: &Option<u64>) -> String {
    declared.map_or("more".to_string(), |n| n.to_string())
}

const VM_VERSION: &str = "x-victoriametrics-remote-write-version";

/// What the headers of a remote write request say about its body and its sender.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Content, Unsupported> {
    let content_type = text(headers, header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(Unsupported::Type(content_type.to_string()));
    }
    let proto = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
    });
    let version = match proto {
        None | Some("prometheus.WriteRequest") => Version::One,
        Some("io.prometheus.write.v2.Request") => Version::Two,
        Some(_) => return Err(Unsupported::Type(content_type.to_string())),
    };
    let is_vm = headers.contains_key(VM_VERSION) && version == Version::One;
    let sender = match text(headers, header::CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "zstd" if is_vm => Sender::VmagentZstd,
        "" | "snappy" if text(headers, header::USER_AGENT).starts_with("vmagent") => Sender::Vmagent,
        "" | "snappy" => Sender::Standard,
        other => return Err(Unsupported::Encoding(other.to_string(), "snappy")),
    };
    Ok(Content { sender, version })
}

impl Default for Content {
    /// What is taken for granted of a request that was not understood.
    fn default() -> Content {
        Content { sender: Sender::Standard, version: Version::One }
    }
}

/// No body is larger than this: positions in a batch have 32 bits, and it may hold a body up to four times
/// (exemplar labels of two bytes become six).
const MAX_BODY_BYTES: u64 = 512 << 20;

/// The most bytes of a body, as received and as decompressed.
pub(crate) fn max_body_bytes(limits: &Limits) -> u64 {
    if limits.max_body_bytes == 0 { MAX_BODY_BYTES } else { limits.max_body_bytes.min(MAX_BODY_BYTES) }
}

/// About how many bytes a packed body will have, as far as it says so.
pub(crate) fn announced(packed: &[u8]) -> u64 {
    let len = match packed.starts_with(&ZSTD_MAGIC) {
        true => get_frame_content_size(packed).ok().flatten(),
        false => snap::raw::decompress_len(packed).ok().map(|len| len as u64),
    };
    len.unwrap_or(packed.len() as u64)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}

/// How a text body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextEncoding {
    Plain,
    Gzip,
}

pub(crate) fn negotiate_text(headers: &HeaderMap) -> Result<TextEncoding, Unsupported> {
    match text(headers, header::CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(TextEncoding::Plain),
        "gzip" | "x-gzip" => Ok(TextEncoding::Gzip),
        other => Err(Unsupported::Encoding(other.to_string(), "gzip or nothing")),
    }
}

/// The first bytes of a zstd frame. No snappy block begins with them: its first element would be a copy of what
/// is not there yet.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// A snappy element of three bytes stands for 64 at most.
const MAX_SNAPPY_RATIO: u64 = 22;
/// Of a zstd stream that does not announce its length: what the format asks of every decoder.
const MAX_WINDOW_LOG: u32 = 23;

/// Decompresses a remote write body into the workspace. The body itself says which of the two codecs it is:
/// queues replayed after a restart may disagree with their headers. No memory is taken before the announced
/// length was held against the limit.
pub(crate) fn unpack(
    packed: &[u8],
    limit: u64,
    work: &mut Workspace,
    reservation: &mut Reservation,
) -> Result<(), BodyError> {
    if packed.is_empty() {
        return Err(BodyError::Empty);
    }
    if packed.starts_with(&ZSTD_MAGIC) {
        return unpack_zstd(packed, limit, work, reservation);
    }
    let corrupt = |e: snap::Error| BodyError::Corrupt { codec: "snappy", what: e.to_string() };
    let declared = snap::raw::decompress_len(packed).map_err(corrupt)? as u64;
    if declared > limit {
        return Err(BodyError::Inflates { declared: Some(declared), limit });
    }
    if declared > packed.len() as u64 * MAX_SNAPPY_RATIO {
        let what = format!("{} bytes cannot decompress to {declared}", packed.len());
        return Err(BodyError::Corrupt { codec: "snappy", what });
    }
    reservation.grow(declared)?;
    snap::raw::Decoder::new().decompress(packed, work.body_mut(declared as usize)).map_err(corrupt)?;
    Ok(())
}

pub(crate) fn unpack_zstd(
    packed: &[u8],
    limit: u64,
    work: &mut Workspace,
    reservation: &mut Reservation,
) -> Result<(), BodyError> {
    let corrupt = |what: String| BodyError::Corrupt { codec: "zstd", what };
    let declared = get_frame_content_size(packed).map_err(|e| corrupt(e.to_string()))?;
    let Some(declared) = declared else {
        let mut stream =
            zstd::stream::read::Decoder::with_buffer(packed).map_err(|e| corrupt(e.to_string()))?;
        stream.window_log_max(MAX_WINDOW_LOG).map_err(|e| corrupt(e.to_string()))?;
        reservation.grow(1 << MAX_WINDOW_LOG)?;
        return read_all(stream, "zstd", limit, &mut work.batch.bytes, reservation);
    };
    if declared > limit {
        return Err(BodyError::Inflates { declared: Some(declared), limit });
    }
    reservation.grow(declared)?;
    let n = work.unzstd(packed, declared as usize).map_err(|e| corrupt(e.to_string()))?;
    if n as u64 == declared { Ok(()) } else { Err(corrupt(format!("{n} bytes instead of {declared}"))) }
}

/// Unpacks a gzip body into the workspace's text.
pub(crate) fn gunzip(
    packed: &[u8],
    limit: u64,
    work: &mut Workspace,
    reservation: &mut Reservation,
) -> Result<(), BodyError> {
    let stream = flate2::read::MultiGzDecoder::new(packed);
    read_all(stream, "gzip", limit, &mut work.text, reservation)
}

/// Reads what does not announce its length, step by step.
fn read_all(
    mut stream: impl Read,
    codec: &'static str,
    limit: u64,
    out: &mut Vec<u8>,
    reservation: &mut Reservation,
) -> Result<(), BodyError> {
    const STEP: usize = 64 << 10;
    out.clear();
    loop {
        let from = out.len();
        // Twice: a vector grows by doubling.
        reservation.grow(2 * STEP as u64)?;
        out.resize(from + STEP, 0);
        let mut filled = from;
        while filled < out.len() {
            let n = stream
                .read(&mut out[filled..])
                .map_err(|e| BodyError::Corrupt { codec, what: e.to_string() })?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        let is_end = filled < out.len();
        out.truncate(filled);
        if out.len() as u64 > limit {
            return Err(BodyError::Inflates { declared: None, limit });
        }
        if is_end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::MemoryPart;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_headers_tell_sender_and_message() {
        let rw1 = "application/x-protobuf";
        let rw2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        let vm = ("x-victoriametrics-remote-write-version", "1");
        let one = |sender| Ok(Content { sender, version: Version::One });
        for (pairs, expected) in [
            (vec![], one(Sender::Standard)),
            (vec![("content-type", rw1), ("content-encoding", "snappy")], one(Sender::Standard)),
            (
                vec![("content-type", "Application/X-Protobuf; proto=prometheus.WriteRequest")],
                one(Sender::Standard),
            ),
            (vec![("user-agent", "vmagent"), ("content-encoding", "snappy")], one(Sender::Vmagent)),
            (vec![("content-type", rw1), ("content-encoding", "zstd"), vm], one(Sender::VmagentZstd)),
            (
                vec![("content-type", rw2), ("content-encoding", "snappy")],
                Ok(Content { sender: Sender::Standard, version: Version::Two }),
            ),
            (
                vec![("content-type", rw2), ("content-encoding", "zstd"), vm],
                Err(Unsupported::Encoding("zstd".to_string(), "snappy")),
            ),
            (vec![("content-encoding", "zstd")], Err(Unsupported::Encoding("zstd".to_string(), "snappy"))),
            (
                vec![("content-encoding", "gzip"), vm],
                Err(Unsupported::Encoding("gzip".to_string(), "snappy")),
            ),
            (vec![("content-type", "text/plain")], Err(Unsupported::Type("text/plain".to_string()))),
            (
                vec![("content-type", "application/x-protobuf;proto=x.Y")],
                Err(Unsupported::Type("application/x-protobuf;proto=x.Y".to_string())),
            ),
        ] {
            assert_eq!(negotiate(&headers(&pairs)), expected, "{pairs:?}");
        }
    }

    fn unpacked(packed: &[u8], limit: u64, memory: u64) -> Result<Vec<u8>, BodyError> {
        let mut work = Workspace::default();
        let mut reservation = MemoryPart::new("push", memory).reserve(0).unwrap();
        unpack(packed, limit, &mut work, &mut reservation)?;
        Ok(work.batch.bytes)
    }

    #[test]
    fn the_body_says_how_it_is_packed() {
        let body = b"the same bytes the same bytes the same bytes".to_vec();
        let snappy = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let zstd = zstd::bulk::compress(&body, 3).unwrap();
        let streamed = zstd::stream::encode_all(&body[..], 3).unwrap();
        for packed in [snappy, zstd, streamed] {
            assert_eq!(unpacked(&packed, 1000, 0), Ok(body.clone()));
        }
    }

    #[test]
    fn bombs_are_refused_before_memory_is_taken() {
        // 32 MiB announced by five bytes.
        let mut lie = Vec::new();
        prost::encoding::encode_varint(32 << 20, &mut lie);
        lie.push(0);
        assert!(matches!(unpacked(&lie, 32 << 20, 1), Err(BodyError::Corrupt { .. })));
        let mut over = Vec::new();
        prost::encoding::encode_varint((32 << 20) + 1, &mut over);
        assert!(matches!(unpacked(&over, 32 << 20, 1), Err(BodyError::Inflates { .. })));
        let zeros = vec![0; 40 << 20];
        let bomb = zstd::bulk::compress(&zeros, 1).unwrap();
        assert!(matches!(unpacked(&bomb, 32 << 20, 1), Err(BodyError::Inflates { .. })));
        assert!(matches!(unpacked(&bomb, 64 << 20, 1 << 20), Err(BodyError::OverBudget(_))));
        let streamed = zstd::stream::encode_all(&zeros[..], 1).unwrap();
        assert!(matches!(unpacked(&streamed, 1 << 20, 0), Err(BodyError::Inflates { .. })));
    }

    #[test]
    fn truncated_and_garbled_bodies_are_named_corrupt() {
        let body: Vec<u8> = (0..10_000u32).flat_map(|i| (i * 7919).to_le_bytes()).collect();
        let snappy = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let zstd = zstd::bulk::compress(&body, 3).unwrap();
        for packed in [&snappy, &zstd] {
            let cut = unpacked(&packed[..packed.len() / 2], 1 << 20, 0);
            assert!(matches!(cut, Err(BodyError::Corrupt { .. })), "{cut:?}");
        }
        assert_eq!(unpacked(b"", 10, 0), Err(BodyError::Empty));
    }
}
