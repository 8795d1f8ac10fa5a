//! Reads that make no sense, or ask for too much.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use prost::Message;
use system_tests::{Firn, RawAnswer, send, snappy};
use wire::generated::prometheus_read as pb;

use super::data::{INTERVAL_MS, push};
use super::start;

fn read(firn: &Firn, headers: &[(&str, &str)], body: &[u8]) -> RawAnswer {
    send("POST", &format!("{}/api/v1/read", firn.url()), headers, body).unwrap()
}

fn request(name: &str, accepted: &[i32]) -> Vec<u8> {
    let matcher = pb::LabelMatcher { r#type: 0, name: "__name__".to_string(), value: name.to_string() };
    let query =
        pb::Query { start_timestamp_ms: 0, end_timestamp_ms: i64::MAX, matchers: vec![matcher], hints: None };
    let request = pb::ReadRequest { queries: vec![query], accepted_response_types: accepted.to_vec() };
    request.encode_to_vec()
}

#[test]
fn reads_that_make_no_sense_are_refused_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    let mut bomb = Vec::new();
    system_tests::varint(&mut bomb, 1 << 31);
    bomb.extend([0xFF; 100]);
    let bad_regex = pb::LabelMatcher { r#type: 2, name: "a".to_string(), value: "(".to_string() };
    let bad_regex = pb::ReadRequest {
        queries: vec![pb::Query { matchers: vec![bad_regex], ..pb::Query::default() }],
        accepted_response_types: Vec::new(),
    };
    for (what, body, status) in [
        ("not snappy", b"hello".to_vec(), 400),
        ("announces two gigabytes", bomb, 413),
        ("not protobuf", snappy(b"\x0A\xFFhello"), 400),
        ("a pattern that is none", snappy(&bad_regex.encode_to_vec()), 400),
        ("unknown response types", snappy(&request("up", &[7, 9])), 400),
        ("too many queries", snappy(&[0x0A, 0x00].repeat(1_001)), 400),
        ("more than may be", vec![0; 33 << 20], 413),
    ] {
        let answer = read(&firn, &[], &body);
        let said = String::from_utf8_lossy(&answer.body).to_string();
        assert_eq!(answer.status, status, "{what}: {said}");
        assert!(said.len() < 300 && said.lines().count() == 1, "{what}: {said}");
        assert!(answer.header("content-type").is_some_and(|t| t.starts_with("text/plain")), "{what}");
    }
    let nothing = read(&firn, &[], &snappy(&[]));
    assert_eq!(nothing.status, 200, "no queries, no results");
}

#[test]
fn the_first_form_that_there_is_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    for (accepted, content_type) in [
        (&[][..], "application/x-protobuf"),
        (&[0, 1], "application/x-protobuf"),
        (&[5, 1, 0], "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"),
    ] {
        for prefix in ["", "/prometheus"] {
            let url = format!("{}{prefix}/api/v1/read", firn.url());
            let gzip = [("Accept-Encoding", "gzip")];
            let answer = send("POST", &url, &gzip, &snappy(&request("up", accepted))).unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type").as_deref(), Some(content_type));
            assert_eq!(answer.header("x-prometheus-remote-read-version").as_deref(), Some("0.1.0"));
            let encoding = if content_type.contains("streamed") { None } else { Some("snappy") };
            assert_eq!(answer.header("content-encoding").as_deref(), encoding);
        }
    }
}

#[test]
fn limits_of_reads_name_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let flags = [
        "-query-frontend.remote-read.sample-limit=100",
        "-query-frontend.remote-read.concurrent-limit=1",
        "-limits.defaults.max-series-per-query=1",
    ];
    let firn = start(&dir, &flags);
    let from = system_tests::now_ms() - 300 * INTERVAL_MS;
    push(&firn, from, 0, 300);
    let name = "read_counter";
    let too_many = read(&firn, &[], &snappy(&request(name, &[])));
    let said = |answer: &RawAnswer| String::from_utf8_lossy(&answer.body).to_string();
    assert_eq!(too_many.status, 422, "{}", said(&too_many));
    assert!(said(&too_many).contains("max_series_per_query"), "{}", said(&too_many));
    let of_one = |accepted: &[i32]| {
        let mut request = pb::ReadRequest::decode(&request(name, accepted)[..]).unwrap();
        let instance = pb::LabelMatcher { r#type: 0, name: "instance".to_string(), value: "a".to_string() };
        request.queries[0].matchers.push(instance);
        snappy(&request.encode_to_vec())
    };
    let too_long = read(&firn, &[], &of_one(&[]));
    assert_eq!(too_long.status, 400, "{}", said(&too_long));
    assert!(said(&too_long).contains("exceeded sample limit (100)"), "{}", said(&too_long));
    let streamed = read(&firn, &[], &of_one(&[1]));
    assert_eq!(streamed.status, 200, "a streamed answer has no such limit: {}", said(&streamed));
    assert!(streamed.body.len() > 300);
}

#[test]
fn a_reader_that_goes_away_gives_its_place_back() {
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &["-query-frontend.remote-read.concurrent-limit=1"]);
    let from = system_tests::now_ms() - 300 * INTERVAL_MS;
    push(&firn, from, 0, 300);
    for _ in 0..5 {
        let mut stream = TcpStream::connect(firn.address()).unwrap();
        let get = "GET /api/v1/export?match[]=%7Bjob%3D%22read%22%7D HTTP/1.1\r\nHost: firn\r\n\r\n";
        stream.write_all(get.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(stream.read(&mut [0; 64]).unwrap() > 0);
    }
    let answer = read(&firn, &[], &snappy(&request("read_counter", &[1])));
    assert_eq!(answer.status, 200);
}
