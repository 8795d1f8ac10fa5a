//! What stands for the labels of a series, so that a known one is found without reading its attributes.
//!
//! The labels follow from four things: what resource and scope give, the name, the attributes of the point as they lie
//! in the body, and a bound or quantile. Each is hashed for itself, the first two once for many points. What a key
//! leads to is kept by the memo until the tenant's limits change, with which the rules for names change.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::labels::{Attributes, Fixed};
use crate::memo::RunHash;
use crate::proto::{Malformed, Reader};

/// The hash of one of the four, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Key(u128);

impl Key {
    #[inline]
    pub(super) fn of(bytes: &[u8], seed: u64) -> Key {
        Key(xxh3_128_with_seed(bytes, seed))
    }

    /// Of the labels that all series of a scope have.
    pub(super) fn of_fixed(fixed: &[Fixed], seed: u64) -> Key {
        let mut bytes = Vec::new();
        for label in fixed {
            bytes.push(u8::from(label.wins));
            for part in [label.name.as_bytes(), &label.value] {
                bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
                bytes.extend_from_slice(part);
            }
        }
        Key::of(&bytes, seed)
    }

    /// Both, in this order.
    #[inline]
    pub(super) fn and(self, next: Key) -> Key {
        Key(self.0.rotate_left(37) ^ next.0)
    }

    #[inline]
    pub(super) fn as_run_hash(self) -> RunHash {
        RunHash::of_key([self.0 as u64, (self.0 >> 64) as u64])
    }
}

/// The attributes of a point as they lie in the body: where, tags and all. As a rule they are one piece.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pieces: Vec<(u32, u32)>,
    joined: Vec<u8>,
}

impl Unread {
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
    }

    /// Adds a field that lies there.
    #[inline]
    pub(super) fn add(&mut self, from: usize, to: usize) {
        match self.pieces.last_mut() {
            Some(last) if last.1 == from as u32 => last.1 = to as u32,
            _ => self.pieces.push((from as u32, to as u32)),
        }
    }

    #[inline]
    pub(super) fn key(&mut self, body: &[u8], seed: u64) -> Key {
        match self.pieces[..] {
            [] => Key::of(&[], seed),
            [(from, to)] => Key::of(body.get(from as usize..to as usize).unwrap_or_default(), seed),
            _ => {
                self.joined.clear();
                for (from, to) in &self.pieces {
                    let piece = body.get(*from as usize..*to as usize).unwrap_or_default();
                    self.joined.extend_from_slice(piece);
                }
                Key::of(&self.joined, seed)
            }
        }
    }

    /// Reads them after all.
    pub(super) fn read(&self, body: &[u8], attributes: &mut Attributes) -> Result<(), Malformed> {
        for (from, to) in &self.pieces {
            let mut fields = Reader::new(body.get(..*to as usize).unwrap_or_default());
            fields.advance(*from as usize);
            while !fields.is_done() {
                let (_, wire) = fields.tag()?;
                attributes.read(fields.message(wire)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(name: &str, value: &[u8], wins: bool) -> Fixed {
        Fixed { name: name.to_string(), value: value.to_vec(), wins }
    }

    #[test]
    fn keys_tell_apart_what_differs_in_any_part_and_where_it_stands() {
        let of = |bytes: &str| Key::of(bytes.as_bytes(), 7);
        let key = of("a").and(of("b")).and(of("c"));
        for other in [
            of("b").and(of("a")).and(of("c")),
            of("a").and(of("c")).and(of("b")),
            of("a").and(of("b")),
            of("a").and(of("b")).and(of("")),
            of("").and(of("a")).and(of("b")).and(of("c")),
        ] {
            assert_ne!(key, other);
            assert_ne!(key.as_run_hash(), other.as_run_hash());
        }
        assert_eq!(key, of("a").and(of("b")).and(of("c")));
    }

    #[test]
    fn labels_of_a_scope_differ_by_name_value_and_whether_they_win() {
        let key = |labels: &[Fixed]| Key::of_fixed(labels, 7);
        let one = key(&[fixed("ab", b"c", true)]);
        assert_ne!(one, key(&[fixed("a", b"bc", true)]));
        assert_ne!(one, key(&[fixed("ab", b"c", false)]));
        assert_ne!(one, key(&[fixed("ab", b"c", true), fixed("d", b"", true)]));
        assert_eq!(one, key(&[fixed("ab", b"c", true)]));
    }

    #[test]
    fn attributes_in_pieces_have_the_key_of_those_in_one() {
        let mut whole = Unread::default();
        whole.add(1, 3);
        whole.add(3, 5);
        let mut pieces = Unread::default();
        pieces.add(0, 2);
        pieces.add(3, 5);
        assert_eq!(whole.key(b"xabcd", 7), pieces.key(b"abxcd", 7));
        assert_ne!(whole.key(b"xabcd", 7), Unread::default().key(b"xabcd", 7));
    }
}
