use model::{BucketSpan, Counts, Histogram, ResetHint};

use super::columns::{BytesError, Reader, put_f64s, put_varint, put_zigzag};

/// Bit of the flags: counts are floats.
const FLOAT: u8 = 0b100;

/// Appends a histogram.
pub fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    let float = if matches!(histogram.counts, Counts::Float { .. }) { FLOAT } else { 0 };
    out.push(hint | float);
    put_zigzag(out, i64::from(histogram.schema));
    put_f64s(out, &[histogram.zero_threshold, histogram.sum]);
    match &histogram.counts {
        Counts::Int { count, zero, positive, negative } => {
            put_varint(out, *count);
            put_varint(out, *zero);
            for buckets in [positive, negative] {
                put_varint(out, buckets.len() as u64);
                buckets.iter().for_each(|bucket| put_varint(out, *bucket));
            }
        }
        Counts::Float { count, zero, positive, negative } => {
            put_f64s(out, &[*count, *zero]);
            for buckets in [positive, negative] {
                put_varint(out, buckets.len() as u64);
                put_f64s(out, buckets);
            }
        }
    }
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        put_varint(out, spans.len() as u64);
        for span in spans {
            put_zigzag(out, i64::from(span.offset));
            put_varint(out, u64::from(span.length));
        }
    }
    put_varint(out, histogram.custom_values.len() as u64);
    put_f64s(out, &histogram.custom_values);
}

/// Reads a histogram. That its parts fit each other is for [`Histogram::validate`] to say.
pub fn take_histogram(bytes: &mut Reader<'_>) -> Result<Histogram, BytesError> {
    let flags = bytes.u8()?;
    let reset_hint = match flags & !FLOAT {
        0 => ResetHint::Unknown,
        1 => ResetHint::Yes,
        2 => ResetHint::No,
        3 => ResetHint::Gauge,
        _ => return Err(bytes.error("unknown flags of a histogram")),
    };
    let schema = bytes.zigzag()?;
    let schema = i32::try_from(schema).map_err(|_| bytes.error("a histogram's schema is out of range"))?;
    let (zero_threshold, sum) = (bytes.f64()?, bytes.f64()?);
    let counts = if flags & FLOAT == 0 {
        let (count, zero) = (bytes.varint()?, bytes.varint()?);
        Counts::Int { count, zero, positive: int_buckets(bytes)?, negative: int_buckets(bytes)? }
    } else {
        let (count, zero) = (bytes.f64()?, bytes.f64()?);
        Counts::Float { count, zero, positive: doubles(bytes)?, negative: doubles(bytes)? }
    };
    let (positive_spans, negative_spans) = (spans(bytes)?, spans(bytes)?);
    let custom_values = doubles(bytes)?;
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

fn int_buckets(bytes: &mut Reader<'_>) -> Result<Vec<u64>, BytesError> {
    let n = bytes.count(1)?;
    (0..n).map(|_| bytes.varint()).collect()
}

fn doubles(bytes: &mut Reader<'_>) -> Result<Vec<f64>, BytesError> {
    let n = bytes.count(8)?;
    bytes.f64s(n)
}

fn spans(bytes: &mut Reader<'_>) -> Result<Vec<BucketSpan>, BytesError> {
    let n = bytes.count(2)?;
    let mut spans = Vec::with_capacity(n);
    for _ in 0..n {
        let offset = i32::try_from(bytes.zigzag()?);
        let length = u32::try_from(bytes.varint()?);
        let (Ok(offset), Ok(length)) = (offset, length) else {
            return Err(bytes.error("a histogram's span is out of range"));
        };
        spans.push(BucketSpan { offset, length });
    }
    Ok(spans)
}
