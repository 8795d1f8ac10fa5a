//! OTLP's JSON, rewritten as protobuf: 64-bit numbers are strings or numbers, ids hexadecimal, fields that nobody knows
//! are ignored.

use std::fmt;

use runtime::{OverBudget, Reservation};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::labels::push_varint;
use super::schema::{Field, Kind, REQUEST, Scalar};
use crate::intake::DecodeError;

/// Rewrites an `ExportMetricsServiceRequest`.
pub(super) fn to_protobuf(
    json: &[u8],
    out: &mut Vec<u8>,
    reservation: &mut Reservation,
) -> Result<(), DecodeError> {
    let mut sink = Sink { out, reservation, reserved: 0, over: None };
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Message { fields: &REQUEST, sink: &mut sink }.deserialize(&mut reader);
    let read = read.and_then(|()| reader.end());
    match (read, sink.over) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(over)) => Err(over.into()),
        (Err(e), None) => Err(DecodeError::Json(e.to_string())),
    }
}

/// Where the protobuf goes.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    reservation: &'a mut Reservation,
    /// Bytes of `out` whose memory was taken.
    reserved: usize,
    over: Option<OverBudget>,
}

/// Memory is taken in steps of this size.
const STEP: usize = 64 << 10;

impl Sink<'_> {
    /// Takes memory for what comes, of at most `n` bytes.
    fn make_room<E: Error>(&mut self, n: usize) -> Result<(), E> {
        while self.out.len() + n > self.reserved {
            // Twice: a vector grows by doubling.
            if let Err(over) = self.reservation.grow(2 * STEP as u64) {
                self.over = Some(over);
                return Err(E::custom("no memory"));
            }
            self.reserved += STEP;
        }
        Ok(())
    }

    fn tag(&mut self, number: u32, wire: u32) {
        push_varint(self.out, (number << 3 | wire) as usize);
    }

    /// Begins what has a length before it.
    fn begin(&mut self, number: u32) -> usize {
        self.tag(number, 2);
        self.out.extend_from_slice(&[0; 5]);
        self.out.len()
    }

    /// Puts the length of what was written since before it.
    fn end(&mut self, from: usize) {
        let len = self.out.len() - from;
        let at = from - 5;
        if len < 0x80 {
            self.out[at] = len as u8;
            self.out.copy_within(from.., at + 1);
            self.out.truncate(at + 1 + len);
            return;
        }
        for i in 0..5 {
            let more = if i < 4 { 0x80 } else { 0 };
            self.out[at + i] = (len >> (7 * i)) as u8 & 0x7F | more;
        }
    }
}

/// Reads a message of these fields.
struct Message<'s, 'a> {
    fields: &'static [Field],
    sink: &'s mut Sink<'a>,
}

impl<'de> DeserializeSeed<'de> for Message<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Message<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Name(self.fields))? {
            match field {
                Some(field) => map.next_value_seed(Value { field, sink: self.sink })?,
                None => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }
}

/// Reads the name of one of these fields.
struct Name(&'static [Field]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|field| field.name == name || is_snake_case(name, field.name)))
    }
}

/// Whether `snake` is the name in the proto file of what is `camel` in JSON.
fn is_snake_case(snake: &str, camel: &str) -> bool {
    let mut rest = snake.bytes();
    camel.bytes().all(|c| match c {
        b'A'..=b'Z' => rest.next() == Some(b'_') && rest.next() == Some(c.to_ascii_lowercase()),
        _ => rest.next() == Some(c),
    }) && rest.next().is_none()
}

/// Reads the value of a field.
struct Value<'s, 'a> {
    field: &'static Field,
    sink: &'s mut Sink<'a>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.field.kind {
            Kind::One(scalar) => {
                let number = Some(self.field.number);
                One { scalar, number, sink: self.sink }.deserialize(deserializer)
            }
            Kind::Message(fields) => {
                self.sink.make_room(16)?;
                let from = self.sink.begin(self.field.number);
                Message { fields, sink: self.sink }.deserialize(deserializer)?;
                self.sink.end(from);
                Ok(())
            }
            Kind::Many(_) | Kind::Messages(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list for {}", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Field { number, kind, .. } = *self.field;
        match kind {
            Kind::Messages(fields) => loop {
                self.sink.make_room(16)?;
                let before = self.sink.out.len();
                let from = self.sink.begin(number);
                if list.next_element_seed(Message { fields, sink: self.sink })?.is_none() {
                    self.sink.out.truncate(before);
                    return Ok(());
                }
                self.sink.end(from);
            },
            Kind::Many(scalar) => {
                self.sink.make_room(16)?;
                let from = self.sink.begin(number);
                while list.next_element_seed(One { scalar, number: None, sink: self.sink })?.is_some() {}
                self.sink.end(from);
                Ok(())
            }
            Kind::One(_) | Kind::Message(_) => Ok(()),
        }
    }
}

/// Reads one value and writes it, with its tag unless it is one of many.
struct One<'s, 'a> {
    scalar: Scalar,
    number: Option<u32>,
    sink: &'s mut Sink<'a>,
}

impl<'de> DeserializeSeed<'de> for One<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for One<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scalar {
            Scalar::Text => "a string",
            Scalar::Base64 => "a string of base64",
            Scalar::Hex => "a string of hexadecimal digits",
            Scalar::Bool => "true or false",
            Scalar::Double => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            Scalar::Temporality => "an aggregation temporality",
            _ => "a whole number within its range, or a string of one",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.scalar {
            Scalar::Bool => self.varint(u64::from(value)),
            _ => Err(self.wrong()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.whole(i128::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.whole(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.scalar {
            Scalar::Double => self.fixed64(value.to_bits()),
            // 1e3 is a whole number, too.
            _ if value.fract() == 0.0 && value.abs() < 1e20 => self.whole(value as i128),
            _ => Err(self.wrong()),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.scalar {
            Scalar::Text => self.bytes(text.as_bytes()),
            Scalar::Base64 => match unbase64(text) {
                Some(bytes) => self.bytes(&bytes),
                None => Err(self.wrong()),
            },
            Scalar::Hex => match unhex(text) {
                Some(bytes) => self.bytes(&bytes),
                None => Err(self.wrong()),
            },
            Scalar::Double => match text.parse::<f64>() {
                Ok(value) => self.fixed64(value.to_bits()),
                Err(_) => Err(self.wrong()),
            },
            Scalar::Temporality if text.starts_with(TEMPORALITY) => {
                match TEMPORALITIES.iter().position(|name| *name == &text[TEMPORALITY.len()..]) {
                    Some(value) => self.varint(value as u64),
                    None => Err(self.wrong()),
                }
            }
            Scalar::Bool => Err(self.wrong()),
            _ => match text.parse::<i128>() {
                Ok(value) => self.whole(value),
                Err(_) => Err(self.wrong()),
            },
        }
    }
}

const TEMPORALITY: &str = "AGGREGATION_TEMPORALITY_";
const TEMPORALITIES: [&str; 3] = ["UNSPECIFIED", "DELTA", "CUMULATIVE"];

impl One<'_, '_> {
    fn whole<E: Error>(self, value: i128) -> Result<(), E> {
        let signed = i64::try_from(value);
        let unsigned = u64::try_from(value);
        match self.scalar {
            Scalar::Double => self.fixed64((value as f64).to_bits()),
            Scalar::Fixed64 if let Ok(value) = unsigned => self.fixed64(value),
            Scalar::SignedFixed64 if let Ok(value) = signed => self.fixed64(value as u64),
            Scalar::Int64 if let Ok(value) = signed => self.varint(value as u64),
            Scalar::Uint64 if let Ok(value) = unsigned => self.varint(value),
            Scalar::Uint32 | Scalar::Temporality if let Ok(value) = u32::try_from(value) => {
                self.varint(u64::from(value))
            }
            Scalar::ZigZag32 if let Ok(value) = i32::try_from(value) => {
                self.varint(u64::from(((value << 1) ^ (value >> 31)) as u32))
            }
            _ => Err(self.wrong()),
        }
    }

    fn fixed64<E: Error>(self, value: u64) -> Result<(), E> {
        self.sink.make_room(16)?;
        if let Some(number) = self.number {
            self.sink.tag(number, 1);
        }
        self.sink.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn varint<E: Error>(self, value: u64) -> Result<(), E> {
        self.sink.make_room(16)?;
        if let Some(number) = self.number {
            self.sink.tag(number, 0);
        }
        push_varint(self.sink.out, value as usize);
        Ok(())
    }

    fn bytes<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        self.sink.make_room(bytes.len() + 16)?;
        if let Some(number) = self.number {
            self.sink.tag(number, 2);
        }
        push_varint(self.sink.out, bytes.len());
        self.sink.out.extend_from_slice(bytes);
        Ok(())
    }

    /// What is there is not echoed: it may be long.
    fn wrong<E: Error>(&self) -> E {
        E::custom(format_args!("expected {}", Expected(self)))
    }
}

struct Expected<'v, V>(&'v V);

impl<'de, V: Visitor<'de>> fmt::Display for Expected<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?) as u8)).collect()
}

/// The standard alphabet, or the one for addresses; padding may be missing.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut n_bits) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(six);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((word >> n_bits) as u8);
            word &= (1 << n_bits) - 1;
        }
    }
    // Six bits alone are no byte.
    (n_bits < 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use runtime::MemoryPart;

    use super::*;

    fn rewritten(json: &str) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        let mut reservation = MemoryPart::unlimited("test").reserve(0).unwrap();
        to_protobuf(json.as_bytes(), &mut out, &mut reservation)?;
        Ok(out)
    }

    #[test]
    fn both_spellings_of_a_field_are_understood_and_unknown_ones_are_ignored() {
        assert!(is_snake_case("start_time_unix_nano", "startTimeUnixNano"));
        assert!(!is_snake_case("start_time_unix", "startTimeUnixNano"));
        let camel = rewritten(r#"{"resourceMetrics":[{"schemaUrl":"x"}],"new":{"a":[1]}}"#);
        assert_eq!(camel, rewritten(r#"{"resource_metrics":[{"schema_url":"x"}]}"#));
        assert_eq!(camel.unwrap(), [0x0A, 3, 0x1A, 1, b'x']);
    }

    #[test]
    fn what_is_no_number_is_refused_without_an_echo() {
        let point = |fields: &str| {
            rewritten(&format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"gauge":{{"dataPoints":[{{{fields}}}]}}}}]}}]}}]}}"#
            ))
        };
        for good in [
            r#""asInt":"-5""#,
            r#""asInt":-5"#,
            r#""asInt":1e3"#,
            r#""asDouble":"NaN""#,
            r#""timeUnixNano":null"#,
        ] {
            assert!(point(good).is_ok(), "{good}");
        }
        for bad in [
            r#""asInt":"x""#,
            r#""asInt":1.5"#,
            r#""timeUnixNano":-1"#,
            r#""timeUnixNano":"18446744073709551616""#,
            r#""asDouble":"secret""#,
            r#""attributes":[{"value":{"bytesValue":"?"}}]"#,
            r#""exemplars":[{"traceId":"abc"}]"#,
            r#""attributes":{}"#,
        ] {
            let error = point(bad).unwrap_err().to_string();
            assert!(error.starts_with("malformed JSON: ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zg", "f"), ("Zm9v", "foo"), ("Zm8=", "fo")] {
            assert_eq!(unbase64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!((unbase64("Z"), unbase64("Z*==")), (None, None));
    }

    #[test]
    fn numbers_take_memory_as_they_grow() {
        let many = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{}1]}}]}}}}]}}]}}]}}"#,
            "1,".repeat(100_000)
        );
        let mut reservation = MemoryPart::new("test", 1 << 20).reserve(0).unwrap();
        let refused = to_protobuf(many.as_bytes(), &mut Vec::new(), &mut reservation);
        assert!(matches!(refused, Err(DecodeError::OverBudget(_))), "{refused:?}");
        assert!(rewritten(&many).unwrap().len() > 800_000);
    }
}
