//! The exemplar section.

use model::{ExemplarPoint, Labels};

use super::RecordError;
use super::bytes::{Bytes, RefReader, RefWriter, put_f64, put_varint, put_zigzag};

pub(super) fn encode(out: &mut Vec<u8>, exemplars: &[(u32, ExemplarPoint)]) {
    put_varint(out, exemplars.len() as u64);
    let mut refs = RefWriter::new();
    let mut timestamp = 0i64;
    for (series_ref, point) in exemplars {
        refs.put(out, *series_ref);
        put_zigzag(out, point.timestamp.wrapping_sub(timestamp));
        timestamp = point.timestamp;
        put_f64(out, point.value);
        put_varint(out, point.labels.run().len() as u64);
        out.extend_from_slice(point.labels.run());
    }
}

pub(super) fn decode(mut bytes: Bytes<'_>, out: &mut Vec<(u32, ExemplarPoint)>) -> Result<(), RecordError> {
    let n = bytes.count(1)?;
    let mut refs = RefReader::new();
    let mut timestamp = 0i64;
    for _ in 0..n {
        let series_ref = refs.get(&mut bytes)?;
        timestamp = timestamp.wrapping_add(bytes.zigzag()?);
        let value = bytes.f64()?;
        let len = bytes.count(1)?;
        let labels = Labels::from_run(bytes.take(len)?).map_err(|_| RecordError::Malformed("label run"))?;
        out.push((series_ref, ExemplarPoint { timestamp, value, labels }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(timestamp: i64, value: f64, trace: &str) -> ExemplarPoint {
        ExemplarPoint { timestamp, value, labels: Labels::from_pairs([("trace_id", trace)]) }
    }

    #[test]
    fn exemplars_come_back_with_every_bit_and_truncated_ones_are_refused() {
        let exemplars = vec![
            (7, point(1_700_000_000_000, 0.1, "a")),
            (8, point(1_699_999_999_999, -0.0, "")),
            (3, point(i64::MIN, f64::from_bits(0x7ff8_0000_dead_beef), "é")),
        ];
        let mut bytes = Vec::new();
        encode(&mut bytes, &exemplars);
        let mut decoded = Vec::new();
        decode(Bytes::new(&bytes), &mut decoded).unwrap();
        let bits = |all: &[(u32, ExemplarPoint)]| -> Vec<_> {
            all.iter().map(|(r, p)| (*r, p.timestamp, p.value.to_bits(), p.labels.clone())).collect()
        };
        assert_eq!(bits(&decoded), bits(&exemplars));
        for len in 0..bytes.len() {
            assert!(decode(Bytes::new(&bytes[..len]), &mut Vec::new()).is_err(), "{len}");
        }
    }
}
