//! The histogram section.

use model::{BucketSpan, Counts, Histogram, HistogramSample, ResetHint};

use super::RecordError;
use super::bytes::{Bytes, RefReader, RefWriter, put_f64, put_varint, put_zigzag};

const FLOAT_COUNTS: u8 = 1;
const HINT_SHIFT: u8 = 1;

pub(super) fn encode(out: &mut Vec<u8>, samples: &[(u32, HistogramSample)]) {
    put_varint(out, samples.len() as u64);
    let mut refs = RefWriter::new();
    let (mut timestamp, mut start) = (0i64, 0i64);
    for (series_ref, sample) in samples {
        refs.put(out, *series_ref);
        put_zigzag(out, sample.timestamp.wrapping_sub(timestamp));
        put_zigzag(out, sample.start_timestamp.wrapping_sub(start));
        (timestamp, start) = (sample.timestamp, sample.start_timestamp);
        put_histogram(out, &sample.histogram);
    }
}

pub(super) fn decode(mut bytes: Bytes<'_>, out: &mut Vec<(u32, HistogramSample)>) -> Result<(), RecordError> {
    let n = bytes.count(1)?;
    let mut refs = RefReader::new();
    let (mut timestamp, mut start) = (0i64, 0i64);
    for _ in 0..n {
        let series_ref = refs.get(&mut bytes)?;
        timestamp = timestamp.wrapping_add(bytes.zigzag()?);
        start = start.wrapping_add(bytes.zigzag()?);
        let histogram = Box::new(get_histogram(&mut bytes)?);
        out.push((series_ref, HistogramSample { timestamp, start_timestamp: start, histogram }));
    }
    Ok(())
}

fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    let float = if matches!(histogram.counts, Counts::Float { .. }) { FLOAT_COUNTS } else { 0 };
    out.push(float | hint << HINT_SHIFT);
    put_zigzag(out, i64::from(histogram.schema));
    put_f64(out, histogram.sum);
    put_f64(out, histogram.zero_threshold);
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    put_floats(out, &histogram.custom_values);
    match &histogram.counts {
        Counts::Int { count, zero, positive, negative } => {
            put_varint(out, *count);
            put_varint(out, *zero);
            put_integers(out, positive);
            put_integers(out, negative);
        }
        Counts::Float { count, zero, positive, negative } => {
            put_f64(out, *count);
            put_f64(out, *zero);
            put_floats(out, positive);
            put_floats(out, negative);
        }
    }
}

fn get_histogram(bytes: &mut Bytes<'_>) -> Result<Histogram, RecordError> {
    let flags = bytes.u8()?;
    let reset_hint = match flags >> HINT_SHIFT {
        0 => ResetHint::Unknown,
        1 => ResetHint::Yes,
        2 => ResetHint::No,
        3 => ResetHint::Gauge,
        _ => return Err(RecordError::Newer("histogram flags")),
    };
    let schema = i32::try_from(bytes.zigzag()?).map_err(|_| RecordError::Malformed("schema"))?;
    let sum = bytes.f64()?;
    let zero_threshold = bytes.f64()?;
    let positive_spans = get_spans(bytes)?;
    let negative_spans = get_spans(bytes)?;
    let custom_values = get_floats(bytes)?;
    let counts = if flags & FLOAT_COUNTS == 0 {
        Counts::Int {
            count: bytes.varint()?,
            zero: bytes.varint()?,
            positive: get_integers(bytes)?,
            negative: get_integers(bytes)?,
        }
    } else {
        Counts::Float {
            count: bytes.f64()?,
            zero: bytes.f64()?,
            positive: get_floats(bytes)?,
            negative: get_floats(bytes)?,
        }
    };
    Ok(Histogram {
        schema,
        zero_threshold,
        sum,
        counts,
        positive_spans,
        negative_spans,
        custom_values,
        reset_hint,
    })
}

fn put_spans(out: &mut Vec<u8>, spans: &[BucketSpan]) {
    put_varint(out, spans.len() as u64);
    for span in spans {
        put_zigzag(out, i64::from(span.offset));
        put_varint(out, u64::from(span.length));
    }
}

fn get_spans(bytes: &mut Bytes<'_>) -> Result<Vec<BucketSpan>, RecordError> {
    let n = bytes.count(1)?;
    let malformed = |_| RecordError::Malformed("span");
    (0..n)
        .map(|_| {
            let offset = i32::try_from(bytes.zigzag()?).map_err(malformed)?;
            let length = u32::try_from(bytes.varint()?).map_err(malformed)?;
            Ok(BucketSpan { offset, length })
        })
        .collect()
}

fn put_integers(out: &mut Vec<u8>, numbers: &[u64]) {
    put_varint(out, numbers.len() as u64);
    let mut previous = 0u64;
    for &number in numbers {
        put_zigzag(out, number.wrapping_sub(previous) as i64);
        previous = number;
    }
}

fn get_integers(bytes: &mut Bytes<'_>) -> Result<Vec<u64>, RecordError> {
    let n = bytes.count(1)?;
    let mut previous = 0u64;
    (0..n)
        .map(|_| {
            previous = previous.wrapping_add(bytes.zigzag()? as u64);
            Ok(previous)
        })
        .collect()
}

fn put_floats(out: &mut Vec<u8>, numbers: &[f64]) {
    put_varint(out, numbers.len() as u64);
    for &number in numbers {
        put_f64(out, number);
    }
}

fn get_floats(bytes: &mut Bytes<'_>) -> Result<Vec<f64>, RecordError> {
    let n = bytes.count(1)?;
    (0..n).map(|_| bytes.f64()).collect()
}
