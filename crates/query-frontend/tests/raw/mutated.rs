//! The fuzz target's body with seeded mutations, so that every run of the suite exercises it.

use prost::Message;
use query_frontend::{ReadRequest, ReadRequestError};
use wire::generated::prometheus_read as pb;

/// A small generator with a seed, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let (at, len) = (self.below(bytes.len()), self.below(24));
            let end = (at + len).min(bytes.len());
            match self.below(5) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => bytes.truncate(at),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ => drop(bytes.drain(at..end)),
            }
        }
        bytes
    }
}

fn everything() -> Vec<u8> {
    let matcher = |op, name: &str, value: &str| pb::LabelMatcher {
        r#type: op,
        name: name.to_string(),
        value: value.to_string(),
    };
    let hints = pb::ReadHints {
        step_ms: 15_000,
        func: "rate".to_string(),
        start_ms: -5,
        grouping: vec!["job".to_string(), "é".to_string()],
        by: true,
        ..pb::ReadHints::default()
    };
    let query = |start, end, matchers| pb::Query {
        start_timestamp_ms: start,
        end_timestamp_ms: end,
        matchers,
        hints: Some(hints.clone()),
    };
    let first = vec![matcher(0, "__name__", "up"), matcher(1, "job", ""), matcher(2, "é", "a|b.*")];
    let queries = vec![query(-1, i64::MAX, first), query(i64::MIN, 0, vec![matcher(3, "x", "[a-z]+")])];
    pb::ReadRequest { queries, accepted_response_types: vec![1, 0, 77] }.encode_to_vec()
}

#[test]
fn a_mutated_request_is_refused_or_becomes_what_prost_makes_of_it() {
    let body = everything();
    let whole = ReadRequest::decode(&body).unwrap();
    assert_eq!((whole.queries.len(), &whole.accepted[..]), (2, &[1, 0, 77][..]));
    let mut random = Random(0x5EED);
    let (mut decoded, mut refused) = (0, 0);
    for i in 0..6_000 {
        let body = random.mutate(&body);
        match (pb::ReadRequest::decode(&body[..]), ReadRequest::decode(&body)) {
            (Ok(expected), Ok(found)) => {
                same(&expected, &found);
                decoded += 1;
            }
            (_, Err(ReadRequestError::Matcher(_))) | (Err(_), Err(_)) => refused += 1,
            // Prost reads groups, which nobody sends.
            (Ok(_), Err(ReadRequestError::Malformed("a field is of an unknown type"))) => refused += 1,
            (Ok(_), Err(e)) => panic!("{i}: {e}: {body:02x?}"),
            // Hints are not looked into.
            (Err(_), Ok(_)) => {}
        }
    }
    assert!(decoded > 500 && refused > 500, "{decoded} {refused}");
}

fn same(expected: &pb::ReadRequest, found: &ReadRequest) {
    let accepted: Vec<i32> = found.accepted.iter().map(|form| *form as i32).collect();
    assert_eq!(accepted, expected.accepted_response_types);
    assert_eq!(found.queries.len(), expected.queries.len());
    for (query, expected) in found.queries.iter().zip(&expected.queries) {
        assert_eq!(query.range.start, expected.start_timestamp_ms);
        assert_eq!(query.range.end, expected.end_timestamp_ms);
        let names = |matchers: Vec<(String, String)>| matchers;
        let ours = query.matchers.iter().map(|m| (m.name.clone(), m.value.clone())).collect();
        let theirs = expected.matchers.iter().map(|m| (m.name.clone(), m.value.clone())).collect();
        assert_eq!(names(ours), names(theirs));
    }
}
