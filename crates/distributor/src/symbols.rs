use model::push_label;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::memo::RunHash;
use crate::proto::{Malformed, Reader, Wire};

/// The texts of a remote write 2.0 request and what is worked out from references to them. Its buffers outlive the
/// request.
///
/// The references to a text differ from request to request, so they cannot be what a series is known by. Its key is
/// mixed from the hashes of its texts: each text is hashed once per request, whichever number of series names it. Those
/// hashes are seeded and stay here, so nobody can prepare texts whose mixtures collide.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// Where each text lies in the body.
    spans: Vec<(u32, u32)>,
    /// The seeded hash of each text.
    hashes: Vec<[u64; 2]>,
    /// One series' labels as remote write 1.0 sends them.
    run: Vec<u8>,
}

/// What a text takes here, in bytes that grow by doubling.
pub(crate) const SYMBOL_BYTES: usize = 2 * (size_of::<(u32, u32)>() + size_of::<[u64; 2]>());

impl Symbols {
    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.hashes.clear();
        self.run.clear();
    }

    pub(crate) fn shrink(&mut self, keep: usize) {
        self.spans.shrink_to(keep / size_of::<(u32, u32)>());
        self.hashes.shrink_to(keep / size_of::<[u64; 2]>());
        self.run.shrink_to(keep);
    }

    /// Takes the next text, which ends where `reader` stands.
    pub(crate) fn push(&mut self, text: &[u8], reader: &Reader<'_>, seed: u64) {
        let end = reader.pos() as u32;
        self.spans.push((end - text.len() as u32, end));
        let hash = xxh3_128_with_seed(text, seed);
        self.hashes.push([hash as u64, (hash >> 64) as u64]);
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// What a series with these packed references is known by; `None` when a name has no value. All of them are
    /// checked.
    #[inline]
    pub(crate) fn key_of(&self, refs: &Reader<'_>) -> Result<Option<RunHash>, Malformed> {
        let (mut rest, mut n) = (refs.rest(), 0u32);
        let mut key = Mixture::default();
        while let [first, behind @ ..] = rest {
            let symbol = match behind {
                _ if *first < 0x80 => {
                    rest = behind;
                    usize::from(*first)
                }
                [second, behind @ ..] if *second < 0x80 => {
                    rest = behind;
                    usize::from(*first & 0x7F) | usize::from(*second) << 7
                }
                _ => {
                    let mut reader = Reader::new(rest);
                    let symbol = reader.varint().map_err(|e| refs.malformed(e.what))? as u32;
                    rest = reader.rest();
                    symbol as usize
                }
            };
            let Some(hash) = self.hashes.get(symbol) else { return Err(refs.malformed(OUT_OF_RANGE)) };
            key.add(*hash);
            n += 1;
        }
        Ok(n.is_multiple_of(2).then(|| RunHash::of_key(key.0)))
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

/// What hashes are mixed to, in their order.
#[derive(Debug, Clone, Copy)]
struct Mixture([u64; 2]);

impl Default for Mixture {
    fn default() -> Mixture {
        // Digits of pi, as good as any other.
        Mixture([0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344])
    }
}

impl Mixture {
    #[inline]
    fn add(&mut self, [low, high]: [u64; 2]) {
        let [a, b] = self.0;
        self.0 = [folded(a ^ low, high | 1), folded(b.rotate_left(32) ^ high, low | 1)];
    }
}

/// The halves of the product of two numbers, laid over one another.
#[inline]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
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
        let one = symbols(b"\x22\x00\x22\x01a\x22\x01b");
        let other = symbols(b"\x22\x00\x22\x01x\x22\x01b\x22\x01a");
        let key = one.key_of(&Reader::new(&[1, 2])).unwrap();
        assert!(key.is_some());
        assert_eq!(other.key_of(&Reader::new(&[3, 2])), Ok(key));
        assert_eq!(other.key_of(&Reader::new(&[0x83, 0x00, 0x82, 0x80, 0x00])), Ok(key), "long numbers");
        assert_ne!(other.key_of(&Reader::new(&[2, 3])), Ok(key));
        assert_ne!(other.key_of(&Reader::new(&[3, 2, 0, 0])), Ok(key));
        assert_eq!(one.key_of(&Reader::new(&[1, 3])).unwrap_err().what, OUT_OF_RANGE);
        assert!(one.key_of(&Reader::new(&[1, 0x82])).is_err(), "a number that does not end");
        assert_eq!(one.key_of(&Reader::new(&[1])), Ok(None), "a name without a value");
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
