//! Reads chunks back, one bit after the other, with no thought of speed.

use chunk::{Chunk, Encoding};
use model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, STALE_NAN};

/// A sample of a chunk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sample {
    Float(i64, u64),
    Histogram(i64, Histogram),
}

pub(crate) fn decode(chunk: &Chunk) -> Vec<Sample> {
    decode_with_starts(chunk).into_iter().map(|(sample, _)| sample).collect()
}

/// Each with its start timestamp, 0 for unknown.
pub(crate) fn decode_with_starts(chunk: &Chunk) -> Vec<(Sample, i64)> {
    let n = u16::from_be_bytes([chunk.data[0], chunk.data[1]]) as usize;
    let (few, flags, header) = (n & 0x3FFF, chunk.data[0], chunk.data[2]);
    let unknown = |samples: Vec<Sample>| samples.into_iter().map(|sample| (sample, 0)).collect();
    match chunk.encoding {
        Encoding::Xor => unknown(floats(&chunk.data[2..], n)),
        Encoding::Histogram => histograms(&chunk.data[3..], n, header, false, None),
        Encoding::FloatHistogram => histograms(&chunk.data[3..], n, header, true, None),
        Encoding::Xor2 => floats2(&chunk.data[3..], n, header),
        Encoding::HistogramSt => histograms(&chunk.data[3..], few, flags, false, Some(header)),
        Encoding::FloatHistogramSt => histograms(&chunk.data[3..], few, flags, true, Some(header)),
    }
}

/// Start timestamps as they are read, by the byte that tells what there is.
struct Starts {
    header: u8,
    start: i64,
    distance: i64,
}

impl Starts {
    fn next(&mut self, reader: &mut Reader<'_>, i: usize, time: i64, before: i64) -> i64 {
        let changed_at = (self.header & 0x7F) as usize;
        if i == 0 && self.header & 0x80 != 0 {
            self.start = time.wrapping_sub(reader.varint());
        } else if i > 0 && changed_at > 0 && i >= changed_at {
            self.distance = self.distance.wrapping_add(reader.int());
            self.start = before.wrapping_sub(self.distance);
        }
        self.start
    }
}

fn floats2(bytes: &[u8], n: usize, header: u8) -> Vec<(Sample, i64)> {
    let mut reader = Reader { bytes, at: 0 };
    let mut starts = Starts { header, start: 0, distance: 0 };
    let mut samples = Vec::new();
    let (mut time, mut step, mut xor) = (0i64, 0i64, Xor::default());
    for i in 0..n {
        let before = time;
        // None stands for a stale marker.
        let value = match i {
            0 => {
                time = reader.varint();
                let first = reader.bits(64);
                xor.bits = if first == STALE_NAN { 0 } else { first };
                Some(first)
            }
            1 => {
                step = reader.uvarint() as i64;
                xor.after_a_step(&mut reader)
            }
            _ => match reader.ones(5) {
                0 => Some(xor.bits),
                1 => {
                    let is_new = reader.bits(1) == 1;
                    Some(xor.change(&mut reader, is_new))
                }
                5 => None,
                ones => {
                    let change = match ones {
                        2 => (reader.bits(13) << 51) as i64 >> 51,
                        3 => (reader.bits(20) << 44) as i64 >> 44,
                        _ => reader.bits(64) as i64,
                    };
                    step = step.wrapping_add(change);
                    xor.after_a_step(&mut reader)
                }
            },
        };
        if i > 0 {
            time = time.wrapping_add(step);
        }
        let start = starts.next(&mut reader, i, time, before);
        samples.push((Sample::Float(time, value.unwrap_or(STALE_NAN)), start));
    }
    assert!(reader.is_at_the_end());
    samples
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bits(&mut self, n: u32) -> u64 {
        let mut value = 0;
        for _ in 0..n {
            let byte = *self.bytes.get(self.at / 8).unwrap_or_else(|| panic!("the chunk is cut off"));
            value = value << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        value
    }

    /// The number of ones before the first zero, at most `max`.
    fn ones(&mut self, max: u32) -> u32 {
        (0..max).take_while(|_| self.bits(1) == 1).count() as u32
    }

    fn uvarint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.bits(8);
            value |= (byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn varint(&mut self) -> i64 {
        let value = self.uvarint();
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }

    /// A number of `n` bits whose highest place is a positive one.
    fn signed(&mut self, n: u32) -> i64 {
        let value = self.bits(n);
        if n < 64 && value > 1 << (n - 1) { value as i64 - (1 << n) } else { value as i64 }
    }

    fn int(&mut self) -> i64 {
        match self.ones(8) {
            0 => 0,
            8 => self.bits(64) as i64,
            ones => self.signed([3, 6, 9, 12, 18, 25, 56][ones as usize - 1]),
        }
    }

    fn uint(&mut self) -> u64 {
        match self.ones(8) {
            0 => 0,
            8 => self.bits(64),
            ones => self.bits([3, 6, 9, 12, 18, 25, 56][ones as usize - 1]),
        }
    }

    fn is_at_the_end(&self) -> bool {
        self.bytes.len() * 8 - self.at < 8
    }
}

#[derive(Default, Clone)]
struct Xor {
    bits: u64,
    window: (u32, u32),
}

impl Xor {
    /// A value of a chunk of the second kind whose distance in time is another one.
    fn after_a_step(&mut self, reader: &mut Reader<'_>) -> Option<u64> {
        match reader.ones(3) {
            0 => Some(self.bits),
            3 => None,
            ones => Some(self.change(reader, ones == 2)),
        }
    }

    fn change(&mut self, reader: &mut Reader<'_>, is_new: bool) -> u64 {
        if is_new {
            let leading = reader.bits(5) as u32;
            let n = match reader.bits(6) as u32 {
                0 => 64,
                n => n,
            };
            self.window = (leading, 64 - leading - n);
        }
        let (leading, trailing) = self.window;
        self.bits ^= reader.bits(64 - leading - trailing) << trailing;
        self.bits
    }

    fn next(&mut self, reader: &mut Reader<'_>) -> u64 {
        if reader.bits(1) == 0 {
            return self.bits;
        }
        let is_new = reader.bits(1) == 1;
        self.change(reader, is_new)
    }
}

fn floats(bytes: &[u8], n: usize) -> Vec<Sample> {
    let mut reader = Reader { bytes, at: 0 };
    let mut time = reader.varint();
    let mut xor = Xor { bits: reader.bits(64), window: (0, 0) };
    let mut samples = vec![Sample::Float(time, xor.bits)];
    let mut step = 0i64;
    for i in 1..n {
        step = match i {
            1 => reader.uvarint() as i64,
            _ => step.wrapping_add(match reader.ones(4) {
                0 => 0,
                4 => reader.bits(64) as i64,
                ones => reader.signed([14, 17, 20][ones as usize - 1]),
            }),
        };
        time = time.wrapping_add(step);
        samples.push(Sample::Float(time, xor.next(&mut reader)));
    }
    assert!(reader.is_at_the_end());
    samples
}

fn histograms(bytes: &[u8], n: usize, flags: u8, is_float: bool, starts: Option<u8>) -> Vec<(Sample, i64)> {
    let mut starts = Starts { header: starts.unwrap_or(0), start: 0, distance: 0 };
    let mut reader = Reader { bytes, at: 0 };
    let layout = layout(&mut reader);
    let n_buckets = |spans: &[BucketSpan]| spans.iter().map(|span| span.length as usize).sum::<usize>();
    let (n_positive, n_negative) = (n_buckets(&layout.positive_spans), n_buckets(&layout.negative_spans));
    let mut time = reader.int();
    let mut step = 0i64;
    let mut state = match is_float {
        true => State::Float(vec![Xor::default(); 3 + n_positive + n_negative]),
        false => State::Int(vec![(0, 0); 2 + n_positive + n_negative], Xor::default()),
    };
    let mut samples = Vec::new();
    for i in 0..n {
        let before = time;
        if i > 0 {
            step = step.wrapping_add(reader.int());
            time = time.wrapping_add(step);
        }
        let (counts, sum) = state.next(&mut reader, i == 0, n_positive);
        let reset_hint = match flags >> 6 {
            0b11 => ResetHint::Gauge,
            _ if i > 0 => ResetHint::No,
            _ => ResetHint::Unknown,
        };
        let start = starts.next(&mut reader, i, time, before);
        let histogram = Histogram { counts, sum, reset_hint, ..layout.clone() };
        samples.push((Sample::Histogram(time, histogram), start));
    }
    assert!(reader.is_at_the_end());
    samples
}

fn layout(reader: &mut Reader<'_>) -> Histogram {
    let zero_threshold = match reader.bits(8) {
        0 => 0.0,
        255 => f64::from_bits(reader.bits(64)),
        power => 2f64.powi(power as i32 - 244),
    };
    let schema = reader.int() as i32;
    let mut spans = || {
        let n = reader.uint();
        let mut span = || {
            let length = reader.uint() as u32;
            BucketSpan { offset: reader.int() as i32, length }
        };
        (0..n).map(|_| span()).collect::<Vec<BucketSpan>>()
    };
    let (positive_spans, negative_spans) = (spans(), spans());
    let mut custom_values = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        for _ in 0..reader.uint() {
            custom_values.push(match reader.uint() {
                0 => f64::from_bits(reader.bits(64)),
                thousandths => (thousandths - 1) as f64 / 1000.0,
            });
        }
    }
    let stale = Histogram { sum: f64::from_bits(STALE_NAN), ..Histogram::stale() };
    Histogram { schema, zero_threshold, positive_spans, negative_spans, custom_values, ..stale }
}

enum State {
    /// Count, zero count, buckets as (value, growth); and the sum.
    Int(Vec<(i64, i64)>, Xor),
    /// Count, zero count, sum, buckets.
    Float(Vec<Xor>),
}

impl State {
    fn next(&mut self, reader: &mut Reader<'_>, is_first: bool, n_positive: usize) -> (Counts, f64) {
        match self {
            State::Int(numbers, sum) => {
                for (i, number) in numbers.iter_mut().enumerate() {
                    if i == 2 {
                        next_float(sum, reader, is_first);
                    }
                    *number = match is_first {
                        true if i < 2 => (reader.uint() as i64, 0),
                        true => (reader.int(), 0),
                        false => {
                            let growth = number.1.wrapping_add(reader.int());
                            (number.0.wrapping_add(growth), growth)
                        }
                    };
                }
                if numbers.len() == 2 {
                    next_float(sum, reader, is_first);
                }
                let value = |i: usize| numbers[i].0 as u64;
                let (positive, negative) = numbers[2..].split_at(n_positive);
                let counts = Counts::Int {
                    count: value(0),
                    zero: value(1),
                    positive: absolute(positive),
                    negative: absolute(negative),
                };
                (counts, f64::from_bits(sum.bits))
            }
            State::Float(floats) => {
                floats.iter_mut().for_each(|xor| next_float(xor, reader, is_first));
                let value = |xor: &Xor| f64::from_bits(xor.bits);
                let (positive, negative) = floats[3..].split_at(n_positive);
                let counts = Counts::Float {
                    count: value(&floats[0]),
                    zero: value(&floats[1]),
                    positive: positive.iter().map(value).collect(),
                    negative: negative.iter().map(value).collect(),
                };
                (counts, value(&floats[2]))
            }
        }
    }
}

fn next_float(xor: &mut Xor, reader: &mut Reader<'_>, is_first: bool) {
    match is_first {
        true => xor.bits = reader.bits(64),
        false => {
            xor.next(reader);
        }
    }
}

fn absolute(differences: &[(i64, i64)]) -> Vec<u64> {
    let sum = |left: &mut u64, (difference, _): &(i64, i64)| {
        *left = left.wrapping_add(*difference as u64);
        Some(*left)
    };
    differences.iter().scan(0, sum).collect()
}
