//! Protobuf by hand, so that the generator costs little beside the server it loads.

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number; proto3 leaves zero out.
pub(super) fn uint(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        varint(out, u64::from(field << 3));
        varint(out, value);
    }
}

/// A `sint64`; proto3 leaves zero out.
pub(super) fn sint(out: &mut Vec<u8>, field: u32, value: i64) {
    uint(out, field, zigzag(value));
}

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// A double; proto3 leaves zero out, as the senders in the field do.
pub(super) fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value != 0.0 {
        fixed(out, field, value.to_bits());
    }
}

/// Eight bytes that are written even when they are zero (`oneof`).
pub(super) fn fixed(out: &mut Vec<u8>, field: u32, bits: u64) {
    varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&bits.to_le_bytes());
}

pub(super) fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    varint(out, u64::from(field << 3 | 2));
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message, or packed numbers, that `write` appends. Its length is known only afterwards: one byte is kept free for
/// it, and what was written moves up if more are needed.
pub(super) fn nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    varint(out, u64::from(field << 3 | 2));
    let at = out.len();
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    let mut prefix = [0u8; 10];
    let mut n = 0;
    let mut rest = len;
    loop {
        prefix[n] = (rest & 0x7F) as u8 | if rest >= 0x80 { 0x80 } else { 0 };
        n += 1;
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    if n > 1 {
        out.resize(out.len() + n - 1, 0);
        out.copy_within(at + 1..at + 1 + len, at + n);
    }
    out[at..at + n].copy_from_slice(&prefix[..n]);
}

/// Fields of a message, as far as it is well-formed: number, and the number or the bytes in it.
pub(crate) fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, u64, &[u8])> {
    std::iter::from_fn(move || {
        let key = take_varint(&mut rest)?;
        match key & 7 {
            0 => Some((key >> 3, take_varint(&mut rest)?, &[][..])),
            1 => Some((key >> 3, 0, rest.split_off(..8)?)),
            2 => {
                let len = take_varint(&mut rest)? as usize;
                Some((key >> 3, 0, rest.split_off(..len)?))
            }
            5 => Some((key >> 3, 0, rest.split_off(..4)?)),
            _ => None,
        }
    })
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
