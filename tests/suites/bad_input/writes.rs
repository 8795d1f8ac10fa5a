use std::io::{Read, Write};
use std::net::TcpStream;

use system_tests::{
    Answer, Firn, NativeHistogram, TimeSeries, WriteRequest, delete, get, now_ms, post, put, snappy, varint,
};

use super::{expect, one, start, values};

const PUSH: &str = "/api/v1/push";
const STANDARD: [(&str, &str); 2] =
    [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
const VMAGENT_ZSTD: [(&str, &str); 4] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "zstd"),
    ("X-VictoriaMetrics-Remote-Write-Version", "1"),
    ("User-Agent", "vmagent"),
];
const VMAGENT_SNAPPY: [(&str, &str); 3] =
    [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy"), ("User-Agent", "vmagent")];

fn send(firn: &Firn, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    post(&format!("{}{PUSH}", firn.url()), headers, body).unwrap()
}

#[test]
fn malformed_bodies_are_refused_in_the_senders_dialect_and_store_nothing() {
    let (_dir, firn) = start(&[]);
    let good = one("whole", 1.0);
    let mut torn = good.clone();
    torn.push(&TimeSeries::named("half", "bad").sample(now_ms(), 2.0));
    let torn = &torn.protobuf()[..torn.protobuf().len() - 3];

    expect("empty", &send(&firn, &STANDARD, &[]), 400, &["empty"]);
    expect("not snappy", &send(&firn, &STANDARD, b"\xff\xff\xff\xff\xff\xff not snappy"), 400, &["snappy"]);
    expect("snappy cut short", &send(&firn, &STANDARD, &good.snappy()[..20]), 400, &["snappy"]);
    expect("protobuf cut short", &send(&firn, &STANDARD, &snappy(torn)), 400, &[]);
    expect("not protobuf", &send(&firn, &STANDARD, &snappy(b"hello, is this the database?")), 400, &[]);
    expect("protobuf cut short, vmagent", &send(&firn, &VMAGENT_SNAPPY, &snappy(torn)), 400, &[]);
    let packed = zstd::bulk::compress(torn, 3).unwrap();
    expect("protobuf cut short, vmagent with zstd", &send(&firn, &VMAGENT_ZSTD, &packed), 409, &[]);
    // A field of the right number and another type, in each message.
    for (what, bytes) in [
        ("a number for a series", &b"\x08\x01"[..]),
        ("a number for a label", b"\x0a\x02\x08\x01"),
        ("a number for a label's name", b"\x0a\x04\x0a\x02\x08\x01"),
        ("bytes for a sample's value", b"\x0a\x05\x12\x03\x0a\x01x"),
        ("a group", b"\x0b\x0c"),
        ("field number zero", b"\x02\x00"),
        ("a length beyond the end", b"\x0a\xff\xff\xff\xff\x0f"),
        ("a length beyond 64 bits", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("a label that is not UTF-8", b"\x0a\x0b\x0a\x04\x0a\x02\xff\xfe\x12\x03\x10\xe8\x07"),
    ] {
        let answer = send(&firn, &STANDARD, &snappy(bytes));
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.body);
        println!("{what}: {} {}", answer.status, answer.body);
    }
    assert!(values(&firn, "{job=\"bad\"}").is_empty(), "a malformed body stores nothing");
    expect("well formed", &send(&firn, &STANDARD, &good.snappy()), 204, &[]);
    assert_eq!(values(&firn, "whole"), [1.0]);
}

#[test]
fn wrong_types_methods_and_routes_have_their_status() {
    let (_dir, firn) = start(&[]);
    let body = one("typed", 1.0).snappy();
    for content_type in
        ["text/plain", "application/json", "application/x-protobuf;proto=io.prometheus.write.v2.Request"]
    {
        let answer = send(&firn, &[("Content-Type", content_type), ("Content-Encoding", "snappy")], &body);
        expect(content_type, &answer, 415, &[]);
    }
    let answer =
        send(&firn, &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "br")], &body);
    expect("brotli", &answer, 415, &["br"]);
    let url = |path: &str| format!("{}{path}", firn.url());
    for path in [PUSH, "/api/v1/write", "/api/v1/import/prometheus"] {
        expect(&format!("GET {path}"), &get(&url(path), &[]).unwrap(), 405, &[]);
        expect(&format!("PUT {path}"), &put(&url(path), &body).unwrap(), 405, &[]);
        expect(&format!("DELETE {path}"), &delete(&url(path)).unwrap(), 405, &[]);
    }
    for path in ["/api/v1/query", "/api/v1/labels"] {
        expect(&format!("DELETE {path}"), &delete(&url(path)).unwrap(), 405, &[]);
    }
    for path in
        ["/nothing", "/api/v1/nothing", "/api/v2/push", "/../../etc/passwd", "/api/v1/label/", "/%2e%2e/wal"]
    {
        expect(path, &get(&url(path), &[]).unwrap(), 404, &[]);
    }
    // Old vmagents ask first.
    let probe = get(&url(PUSH), &[("get_vm_proto_version", "1")]).unwrap();
    assert_eq!((probe.status, probe.body.as_str()), (200, "1"));
    assert!(values(&firn, "typed").is_empty());
}

#[test]
fn tenants_are_told_apart_and_what_is_no_tenant_is_refused() {
    let (dir, firn) = start(&["-multitenancy-enabled=true"]);
    let push = |tenant: &str| firn.push_as(tenant, &one("mine", 1.0)).unwrap();
    expect("no tenant", &firn.push(&one("mine", 1.0)).unwrap(), 401, &["X-Scope-OrgID"]);
    let long = "a".repeat(151);
    for bad in [".", "..", "../other", "a/b", "a b", "a|b", "__mine", "", "ä", long.as_str()] {
        expect(&format!("tenant {bad:?}"), &push(bad), 400, &["X-Scope-OrgID"]);
    }
    for good in ["team-1", "a.b", "!_*'()", &"a".repeat(150)] {
        expect(&format!("tenant {good:?}"), &push(good), 204, &[]);
    }
    firn.flush_all().unwrap();
    let ask = |headers: &[(&str, &str)]| {
        system_tests::get_with(&format!("{}/api/v1/query", firn.url()), &[("query", "mine")], headers)
            .unwrap()
    };
    expect("a query without tenant", &ask(&[]), 401, &[]);
    let n_series = |tenant: &str| {
        let answer = ask(&[("X-Scope-OrgID", tenant)]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["data"]["result"].as_array().unwrap().len()
    };
    assert_eq!((n_series("team-1"), n_series("team-2")), (1, 0));
    let mut tenants: Vec<String> = std::fs::read_dir(dir.path().join("tables"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().to_string())
        .filter(|name| !name.starts_with("__"))
        .collect();
    tenants.sort();
    println!("folders: {tenants:?}");
    assert_eq!(tenants.len(), 4);
}

#[test]
fn good_samples_are_kept_beside_bad_ones() {
    let (_dir, firn) = start(&[]);
    let now = now_ms();
    let mut request = WriteRequest::default();
    let bad_histogram = NativeHistogram {
        count: 1.0,
        schema: 3,
        positive: [(0, 5.0), (1, 9.0)].into(),
        ..NativeHistogram::default()
    };
    request
        .push(&TimeSeries::named("good", "1").sample(now - 2000, 1.0).sample(now - 1000, 2.0))
        .push(&TimeSeries::named("future", "1").sample(now + 3_600_000, 1.0).sample(now, 7.0))
        .push(&TimeSeries::new([("__name__", "twice"), ("a", "1"), ("a", "2")]).sample(now, 1.0))
        .push(&TimeSeries::new([("__name__", "nameless"), ("", "1")]).sample(now, 1.0))
        .push(&TimeSeries::named("broken_histogram", "1").histogram(now, &bad_histogram))
        .push(&TimeSeries::named("good", "2").sample(now, 3.0));
    let answer = firn.push(&request).unwrap();
    expect("one request, four faults", &answer, 400, &[]);
    assert_eq!(values(&firn, "sort(good)"), [2.0, 3.0]);
    assert_eq!(values(&firn, "future"), [7.0]);
    assert!(values(&firn, "{__name__=~\"twice|nameless|broken_histogram\"}").is_empty());

    // The same again is accepted; another value for a time that has one is not, and the first stays.
    let again = |value: f64| {
        let mut request = WriteRequest::default();
        request.push(&TimeSeries::named("good", "2").sample(now, value));
        request.push(&TimeSeries::named("good", "3").sample(now, value));
        firn.push(&request).unwrap()
    };
    expect("the same bits again", &again(3.0), 204, &[]);
    expect("another value", &again(4.0), 400, &["good"]);
    assert_eq!(values(&firn, "good{job=\"2\"}"), [3.0]);
    firn.flush_all().unwrap();
    expect("another value after a flush", &again(4.0), 400, &["good"]);
    assert_eq!(values(&firn, "good{job=\"2\"}"), [3.0]);

    let text = format!("lines_a 1 {now}\nthis is no line\nlines_b{{x=\"y\"}} 2 {now}\nlines_c{{x=}} 3\n");
    expect("text with two bad lines", &firn.import(&text).unwrap(), 400, &["2 lines"]);
    assert_eq!(values(&firn, "sort({__name__=~\"lines_.*\"})"), [1.0, 2.0]);
}

#[test]
fn a_body_that_never_ends_or_lies_about_its_length_harms_nobody() {
    let (_dir, firn) = start(&[]);
    let head = |length: usize| {
        format!(
            "POST {PUSH} HTTP/1.1\r\nHost: firn\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let body = one("truncated", 1.0).snappy();
    // Half of it, and gone.
    for _ in 0..20 {
        let mut stream = TcpStream::connect(firn.address()).unwrap();
        stream.write_all(head(body.len()).as_bytes()).unwrap();
        stream.write_all(&body[..body.len() / 2]).unwrap();
    }
    // More announced than any limit allows: refused before it is sent.
    let mut stream = TcpStream::connect(firn.address()).unwrap();
    stream.write_all(head(1 << 40).as_bytes()).unwrap();
    let mut answer = vec![0; 64];
    let n = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..n]).to_string();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Not HTTP at all.
    let mut stream = TcpStream::connect(firn.address()).unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _closed = stream.read_to_end(&mut rest);
    assert!(values(&firn, "truncated").is_empty());
    expect("afterwards", &firn.push(&one("truncated", 1.0)).unwrap(), 204, &[]);
}

#[test]
fn decompression_bombs_are_refused_and_leave_memory_as_it_was() {
    let (_dir, mut firn) = start(&[]);
    expect("first of all", &firn.push(&one("before", 1.0)).unwrap(), 204, &[]);
    let before = firn.child().status_kib("VmRSS").unwrap();
    let zeros = vec![0u8; 256 << 20];
    let mut announced = Vec::new();
    varint(&mut announced, 0xffff_ffff);
    announced.extend_from_slice(&[0; 64]);
    let mut nearly = Vec::new();
    // Just within the limit for decompressed bodies, out of nothing.
    varint(&mut nearly, 32 << 20);
    nearly.extend_from_slice(&[0; 64]);
    let unannounced = {
        let mut stream = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        stream.write_all(&zeros).unwrap();
        stream.finish().unwrap()
    };
    type Bomb<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>, u16);
    let bombs: [Bomb<'_>; 5] = [
        ("snappy, 256 MiB of zeros", &STANDARD, snappy(&zeros), 400),
        ("snappy that announces 4 GiB", &STANDARD, announced, 400),
        ("snappy that announces 32 MiB in 70 bytes", &STANDARD, nearly, 400),
        ("zstd that announces 256 MiB", &VMAGENT_ZSTD, zstd::bulk::compress(&zeros, 3).unwrap(), 409),
        ("zstd that announces nothing", &VMAGENT_ZSTD, unannounced, 409),
    ];
    drop(zeros);
    for (what, headers, bomb, status) in &bombs {
        println!("{what}: {} bytes", bomb.len());
        expect(what, &send(&firn, headers, bomb), *status, &[]);
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..15 {
                    let (what, headers, bomb, status) = &bombs[round % bombs.len()];
                    assert_eq!(send(&firn, headers, bomb).status, *status, "{what}");
                }
            });
        }
    });
    let peak = firn.child().status_kib("VmHWM").unwrap();
    println!("RSS before {} MiB, peak under 65 bombs from 4 clients {} MiB", before >> 10, peak >> 10);
    // Each of 4 requests at a time may hold what a body may hold, 32 MiB, packed and unpacked.
    assert!(peak < before + (300 << 10), "{before} KiB before, {peak} KiB at most");
    expect("afterwards", &firn.push(&one("after", 1.0)).unwrap(), 204, &[]);
    assert_eq!(values(&firn, "before"), [1.0]);
}
