use model::push_label;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::memo::RunHash;
use crate::proto::{Malformed, Reader, Wire};

/// The texts of a remote write 2.0 request and what is worked out from references to them. Its buffers outlive the
/// request.
///
/// The references to a text differ from request to request, so they cannot be what a series is known by. Its key is
/// the hash of the hashes of its texts: each text is hashed once per request, whichever number of series names it.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// Where each text lies in the body.
    spans: Vec<(u32, u32)>,
    /// The seeded hash of each text.
    hashes: Vec<[u8; 16]>,
    /// The hashes of one series' texts, one behind the other.
    key: Vec<u8>,
    /// One series' labels as remote write 1.0 sends them.
    run: Vec<u8>,
}

/// What a text takes here, in bytes that grow by doubling.
pub(crate) const SYMBOL_BYTES: usize = 2 * (size_of::<(u32, u32)>() + size_of::<[u8; 16]>());

impl Symbols {
    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.hashes.clear();
        self.key.clear();
        self.run.clear();
    }

    pub(crate) fn shrink(&mut self, keep: usize) {
        self.spans.shrink_to(keep / size_of::<(u32, u32)>());
        self.hashes.shrink_to(keep / size_of::<[u8; 16]>());
        self.key.shrink_to(keep);
        self.run.shrink_to(keep);
    }

    /// Takes the next text, which ends where `reader` stands.
    pub(crate) fn push(&mut self, text: &[u8], reader: &Reader<'_>, seed: u64) {
        let end = reader.pos() as u32;
        self.spans.push((end - text.len() as u32, end));
        self.hashes.push(xxh3_128_with_seed(text, seed).to_le_bytes());
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// What a series with these packed references is known by; `None` when a name has no value. All of them are
    /// checked.
    #[inline]
    pub(crate) fn key_of(&mut self, mut refs: Reader<'_>, seed: u64) -> Result<Option<RunHash>, Malformed> {
        self.key.clear();
        let at = refs.pos();
        while !refs.is_done() {
            let symbol = refs.varint()? as u32;
            let Some(hash) = self.hashes.get(symbol as usize) else {
                return Err(Malformed { what: OUT_OF_RANGE, at });
            };
            self.key.extend_from_slice(hash);
        }
        let is_paired = self.key.len().is_multiple_of(2 * size_of::<[u8; 16]>());
        Ok(is_paired.then(|| RunHash::of(&self.key, seed)))
    }

    /// Writes the labels with these packed references as remote write 1.0 sends them. False when one is not UTF-8,
    /// which is written all the same.
    pub(crate) fn write_run(
        &self,
        body: &[u8],
        mut refs: Reader<'_>,
        run: &mut Vec<u8>,
    ) -> Result<bool, Malformed> {
        let mut is_text = true;
        while !refs.is_done() {
            let name = self.read(body, &mut refs)?;
            let value = self.read(body, &mut refs)?;
            match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                (Ok(name), Ok(value)) => push_label(run, name, value),
                _ => {
                    is_text = false;
                    push_bytes(run, name, value);
                }
            }
        }
        Ok(is_text)
    }

    /// As [`Symbols::write_run`], into a buffer that is kept.
    pub(crate) fn run_of(&mut self, body: &[u8], refs: Reader<'_>) -> Result<&[u8], Malformed> {
        let mut run = std::mem::take(&mut self.run);
        run.clear();
        let written = self.write_run(body, refs, &mut run);
        self.run = run;
        written.map(|_| &self.run[..])
    }

    /// The text that the next reference leads to.
    fn read<'a>(&self, body: &'a [u8], refs: &mut Reader<'_>) -> Result<&'a [u8], Malformed> {
        let symbol = refs.varint()? as u32;
        self.get(body, symbol).ok_or_else(|| refs.malformed(OUT_OF_RANGE))
    }

    /// The text with this number.
    pub(crate) fn get<'a>(&self, body: &'a [u8], symbol: u32) -> Option<&'a [u8]> {
        let (from, to) = *self.spans.get(symbol as usize)?;
        body.get(from as usize..to as usize)
    }
}

pub(crate) const OUT_OF_RANGE: &str = "a reference to a symbol that is not there";

/// The references of a message, in whichever pieces they come: `number` is their field. Written as packed varints.
pub(crate) fn collect_refs(mut reader: Reader<'_>, number: u32) -> Result<Vec<u8>, Malformed> {
    let mut refs = Vec::new();
    while !reader.is_done() {
        let (field, wire) = reader.tag()?;
        if field != number {
            reader.skip(field, wire)?;
            continue;
        }
        let from = reader.pos();
        match wire {
            Wire::Varint => {
                reader.varint()?;
                refs.extend_from_slice(reader.since(from));
            }
            _ => refs.extend_from_slice(reader.bytes(wire)?),
        }
    }
    Ok(refs)
}

/// A label whose parts may be any bytes.
fn push_bytes(run: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let len = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
    run.push(0x0A);
    push_varint(run, len);
    for (tag, part) in [(0x0A, name), (0x12, value)] {
        run.push(tag);
        push_varint(run, part.len());
        run.extend_from_slice(part);
    }
}

fn varint_len(mut n: usize) -> usize {
    let mut len = 1;
    while n >= 0x80 {
        (n, len) = (n >> 7, len + 1);
    }
    len
}

fn push_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(body: &[u8]) -> Symbols {
        let mut symbols = Symbols::default();
        let mut reader = Reader::new(body);
        while !reader.is_done() {
            let (_, wire) = reader.tag().unwrap();
            let text = reader.bytes(wire).unwrap();
            symbols.push(text, &reader, 7);
        }
        symbols
    }

    #[test]
    fn a_series_is_known_by_its_texts_and_not_by_their_numbers() {
        let mut one = symbols(b"\x22\x00\x22\x01a\x22\x01b");
        let mut other = symbols(b"\x22\x00\x22\x01x\x22\x01b\x22\x01a");
        let key = one.key_of(Reader::new(&[1, 2]), 7).unwrap();
        assert!(key.is_some());
        assert_eq!(other.key_of(Reader::new(&[3, 2]), 7), Ok(key));
        assert_ne!(other.key_of(Reader::new(&[2, 3]), 7), Ok(key));
        assert_eq!(one.key_of(Reader::new(&[1, 3]), 7).unwrap_err().what, OUT_OF_RANGE);
        assert_eq!(one.key_of(Reader::new(&[1]), 7), Ok(None), "a name without a value");
    }

    #[test]
    fn labels_that_are_no_text_are_written_alike() {
        let long = "x".repeat(300);
        for (name, value) in [("a", "b"), ("", ""), (long.as_str(), "y"), ("z", long.as_str())] {
            let (mut text, mut bytes) = (Vec::new(), Vec::new());
            push_label(&mut text, name, value);
            push_bytes(&mut bytes, name.as_bytes(), value.as_bytes());
            assert_eq!(text, bytes);
        }
    }
}
