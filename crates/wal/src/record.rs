use crate::{Lsn, WalError};

/// Bytes of a record's header.
pub const HEADER_LEN: usize = 32;

/// The longest body of a record; larger requests are refused long before.
const MAX_BODY: usize = 1 << 30;

/// What begins a record; the reader looks for it after damage.
pub(crate) const MARK: [u8; 4] = *b"FWR\x1E";

/// Whom a record is about and what kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The tenant's id.
    pub tenant: &'a str,
    /// The shard.
    pub shard: u32,
    /// What the payload is; the log's owner decides.
    pub kind: u8,
    /// The version of the payload's format.
    pub version: u8,
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position.
    pub lsn: Lsn,
    /// Whom it is about.
    pub envelope: Envelope<'a>,
    /// What its owner wrote.
    pub payload: &'a [u8],
}

/// A header whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) lsn: Lsn,
    pub(crate) shard: u32,
    pub(crate) kind: u8,
    pub(crate) version: u8,
    pub(crate) tenant_len: usize,
    pub(crate) body_len: usize,
    body_crc: u32,
}

/// The checksum of a record's body. Taken before the log's lock is.
pub(crate) fn body_crc(tenant: &str, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(tenant.as_bytes()), payload)
}

/// Replaces `out` with the bytes of a record.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    lsn: Lsn,
    envelope: &Envelope<'_>,
    body_crc: u32,
    payload: &[u8],
) -> Result<(), WalError> {
    let body_len = envelope.tenant.len() + payload.len();
    let tenant_len =
        u16::try_from(envelope.tenant.len()).map_err(|_| WalError::TooLong(envelope.tenant.len()))?;
    let fits = u32::try_from(body_len).ok().filter(|_| body_len <= MAX_BODY);
    let length = fits.ok_or(WalError::TooLong(body_len))?;
    out.clear();
    out.reserve(HEADER_LEN + body_len);
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&lsn.to_le_bytes());
    out.extend_from_slice(&envelope.shard.to_le_bytes());
    out.extend_from_slice(&[envelope.kind, envelope.version]);
    out.extend_from_slice(&tenant_len.to_le_bytes());
    out.extend_from_slice(&body_crc.to_le_bytes());
    let header_crc = crc32c::crc32c(out);
    out.extend_from_slice(&header_crc.to_le_bytes());
    out.extend_from_slice(envelope.tenant.as_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

impl Header {
    /// The header at the beginning of `bytes`, if it is whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
        let u32_at = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        if bytes[..4] != MARK || u32_at(28) != crc32c::crc32c(&bytes[..28]) {
            return None;
        }
        let lsn = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
        let header = Header {
            lsn,
            shard: u32_at(16),
            kind: bytes[20],
            version: bytes[21],
            tenant_len: usize::from(u16::from_le_bytes([bytes[22], bytes[23]])),
            body_len: u32_at(4) as usize,
            body_crc: u32_at(24),
        };
        (header.tenant_len <= header.body_len && header.body_len <= MAX_BODY).then_some(header)
    }

    /// Bytes of the whole record.
    pub(crate) fn record_len(&self) -> usize {
        HEADER_LEN + self.body_len
    }

    /// Whether `body` is the one that was written.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.body_len
            && crc32c::crc32c(body) == self.body_crc
            && std::str::from_utf8(&body[..self.tenant_len]).is_ok()
    }

    /// The record with this header and a body that fits it.
    pub(crate) fn record<'a>(&self, body: &'a [u8]) -> Record<'a> {
        let (tenant, payload) = body.split_at(self.tenant_len);
        let tenant = std::str::from_utf8(tenant).unwrap_or_default();
        let envelope = Envelope { tenant, shard: self.shard, kind: self.kind, version: self.version };
        Record { lsn: self.lsn, envelope, payload }
    }
}
