//! Any bytes as a request of remote read: no panic, and what prost makes of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use query_frontend::{ReadRequest, ReadRequestError};
use wire::generated::prometheus_read as pb;

fuzz_target!(|body: &[u8]| {
    match (pb::ReadRequest::decode(body), ReadRequest::decode(body)) {
        (Ok(expected), Ok(decoded)) => {
            assert_eq!(decoded.queries.len(), expected.queries.len());
            for (query, expected) in decoded.queries.iter().zip(&expected.queries) {
                let ends = (expected.start_timestamp_ms, expected.end_timestamp_ms);
                assert_eq!((query.range.start, query.range.end), ends);
                assert_eq!(query.matchers.len(), expected.matchers.len());
            }
        }
        // Groups and hints that are no messages: prost reads the one and looks at the other, ours neither.
        (Ok(_), Err(ReadRequestError::Malformed(reason))) => assert_eq!(reason, "a field is of an unknown type"),
        (_, Err(_)) | (Err(_), Ok(_)) => {}
    }
});
