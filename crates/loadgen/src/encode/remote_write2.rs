//! `io.prometheus.write.v2.Request`: strings once per request, labels by reference.

use crate::fleet::{Entry, Family, FamilyKind, Fleet};
use crate::recording::Value;

use super::proto::{bytes, double, nested, uint, varint};
use super::remote_write1::{exemplar_key, exemplar_value, histogram, sample, type_number};
use super::{Extras, trace_id};

/// The strings of one request.
pub(crate) struct Symbols {
    /// By the fleet's number: the request in which it was last used, and its place there.
    places: Vec<(u32, u32)>,
    request: u32,
    n: u32,
    /// Encoded, as far as the request has come.
    encoded: Vec<u8>,
    series: Vec<u8>,
}

impl Symbols {
    pub(crate) fn new(n: usize) -> Symbols {
        Symbols { places: vec![(0, 0); n], request: 0, n: 0, encoded: Vec::new(), series: Vec::new() }
    }

    /// The first symbol is the empty string.
    fn begin(&mut self) {
        self.request += 1;
        self.n = 0;
        self.encoded.clear();
        self.series.clear();
        self.add("");
    }

    fn add(&mut self, symbol: &str) -> u32 {
        bytes(&mut self.encoded, 4, symbol.as_bytes());
        self.n += 1;
        self.n - 1
    }

    fn place(&mut self, number: u32, fleet: &Fleet) -> u32 {
        let (request, place) = self.places[number as usize];
        if request == self.request {
            return place;
        }
        let place = self.add(&fleet.symbols[number as usize]);
        self.places[number as usize] = (self.request, place);
        place
    }
}

pub(super) fn encode(
    out: &mut Vec<u8>,
    symbols: &mut Symbols,
    fleet: &Fleet,
    entries: &[Entry<'_>],
    extras: Extras,
) {
    symbols.begin();
    let mut series = std::mem::take(&mut symbols.series);
    // A family follows itself mostly, so its references are looked up once.
    let mut described: Option<(u32, Described)> = None;
    for entry in entries {
        let family = entry.series.family;
        let description = match described {
            Some((last, description)) if last == family => description,
            _ => Described::of(symbols, fleet.family(entry.series), extras),
        };
        described = Some((family, description));
        let start = if description.counts && extras.start_timestamps { entry.start } else { 0 };
        let mut one = |key: &[u8], field: u32, write: &dyn Fn(&mut Vec<u8>)| {
            nested(&mut series, 5, |out| {
                labels(out, key, symbols, fleet);
                nested(out, field, write);
                description.write(out);
            });
        };
        match entry.value {
            Value::Float(value) => {
                one(&entry.series.key, 2, &|out| sample(out, entry.timestamp, value, start));
            }
            Value::Classic(latencies) => {
                for (key, value) in entry.series.parts.iter().zip(latencies.floats()) {
                    one(key, 2, &|out| sample(out, entry.timestamp, value, start));
                }
            }
            Value::Native(latencies) => {
                one(&entry.series.key, 3, &|out| histogram(out, entry.timestamp, latencies, start));
            }
        }
    }
    exemplars(&mut series, symbols, fleet, entries);
    out.extend_from_slice(&symbols.encoded);
    out.extend_from_slice(&series);
    symbols.series = series;
}

fn labels(out: &mut Vec<u8>, key: &[u8], symbols: &mut Symbols, fleet: &Fleet) {
    nested(out, 1, |out| {
        for number in key.as_chunks::<4>().0 {
            varint(out, u64::from(symbols.place(u32::from_le_bytes(*number), fleet)));
        }
    });
}

fn exemplars(series: &mut Vec<u8>, symbols: &mut Symbols, fleet: &Fleet, entries: &[Entry<'_>]) {
    let mut name = None;
    for entry in entries {
        let Some(trace) = entry.trace else { continue };
        let name = *name.get_or_insert_with(|| symbols.add("trace_id"));
        let id = symbols.add(&trace_id(trace));
        nested(series, 5, |out| {
            labels(out, exemplar_key(entry), symbols, fleet);
            nested(out, 4, |out| {
                nested(out, 1, |out| {
                    varint(out, u64::from(name));
                    varint(out, u64::from(id));
                });
                double(out, 2, exemplar_value(entry));
                uint(out, 3, entry.timestamp as u64);
            });
            nested(out, 5, |_| {});
        });
    }
}

/// What a series says of its family.
#[derive(Debug, Clone, Copy)]
struct Described {
    kind: u64,
    help: u64,
    counts: bool,
}

impl Described {
    fn of(symbols: &mut Symbols, family: &Family, extras: Extras) -> Described {
        let counts = family.kind != FamilyKind::Gauge;
        if !extras.metadata {
            return Described { kind: 0, help: 0, counts };
        }
        Described { kind: type_number(family.kind), help: u64::from(symbols.add(&family.help)), counts }
    }

    /// Prometheus writes the message even when it is empty.
    fn write(self, out: &mut Vec<u8>) {
        nested(out, 5, |out| {
            uint(out, 1, self.kind);
            uint(out, 3, self.help);
        });
    }
}
