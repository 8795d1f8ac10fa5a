//! Remote write 2.0: what is bad is told in status and counts, and its neighbours are kept.

use prost::Message;
use system_tests::{Answer, Firn, now_ms, post, snappy};
use wire::generated::prometheus2 as pb;

use super::{expect, start, values};

const VERSION_2: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "2.0.0"),
];

fn send(firn: &Firn, body: &[u8]) -> Answer {
    post(&format!("{}/api/v1/write", firn.url()), &VERSION_2, body).unwrap()
}

/// Series of the job `v2`: name, timestamp and value.
fn request(series: &[(&str, i64, f64)]) -> pb::Request {
    let symbols = ["", "__name__", "job", "v2"].map(str::to_string).to_vec();
    let mut request = pb::Request { symbols, ..pb::Request::default() };
    for (name, timestamp, value) in series {
        request.symbols.push((*name).to_string());
        let name = request.symbols.len() as u32 - 1;
        let sample = pb::Sample { value: *value, timestamp: *timestamp, start_timestamp: 0 };
        let labels_refs = vec![1, name, 2, 3];
        request.timeseries.push(pb::TimeSeries { labels_refs, samples: vec![sample], ..Default::default() });
    }
    request
}

fn packed(request: &pb::Request) -> Vec<u8> {
    snappy(&request.encode_to_vec())
}

/// How many samples, histograms and exemplars were written, as the answer says.
fn written(answer: &Answer) -> [Option<u64>; 3] {
    let count = |kind| answer.header(&format!("x-prometheus-remote-write-{kind}-written"))?.parse().ok();
    ["samples", "histograms", "exemplars"].map(count)
}

#[test]
fn a_malformed_request_of_version_2_stores_nothing_and_says_so() {
    let (_dir, firn) = start(&[]);
    let now = now_ms();
    let good = || request(&[("good", now, 1.0), ("bad", now, 2.0)]);
    let spoilt = |spoil: fn(&mut pb::Request)| {
        let mut request = good();
        spoil(&mut request);
        packed(&request)
    };
    let whole = good().encode_to_vec();
    for (what, body) in [
        ("empty", Vec::new()),
        ("not snappy", b"\xff\xff\xff\xff\xff\xff not snappy".to_vec()),
        ("cut short", snappy(&whole[..whole.len() - 3])),
        ("a reference to nothing", spoilt(|request| request.timeseries[1].labels_refs[3] = 1000)),
        ("a name without a value", spoilt(|request| request.timeseries[1].labels_refs.push(1))),
        ("symbols that do not begin empty", spoilt(|request| request.symbols[0] = "x".to_string())),
        (
            "an exemplar that refers to nothing",
            spoilt(|request| {
                let exemplar = pb::Exemplar { labels_refs: vec![1, 99], value: 1.0, timestamp: 1 };
                request.timeseries[1].exemplars.push(exemplar);
            }),
        ),
    ] {
        let answer = send(&firn, &body);
        expect(what, &answer, 400, &[]);
        assert_eq!(written(&answer), [Some(0); 3], "{what}");
    }
    assert!(values(&firn, "{job=\"v2\"}").is_empty());
    let answer = send(&firn, &packed(&good()));
    assert_eq!((answer.status, written(&answer)), (204, [Some(2), Some(0), Some(0)]), "{}", answer.body);
}

#[test]
fn bad_samples_of_version_2_are_counted_out_and_their_neighbours_kept() {
    let (_dir, firn) = start(&["-limits.defaults.max-series-per-metric=2"]);
    let now = now_ms();
    let first = send(&firn, &packed(&request(&[("known", now, 1.0)])));
    assert_eq!((first.status, written(&first)), (204, [Some(1), Some(0), Some(0)]));
    let mut mixed = request(&[
        ("known", now, 1.0),
        ("known", now, 2.0),
        ("future", now + 3_600_000, 1.0),
        ("neighbour", now, 3.0),
    ]);
    // Without a name, and with the same name twice.
    mixed.timeseries.push(pb::TimeSeries { labels_refs: vec![2, 3], ..mixed.timeseries[0].clone() });
    mixed
        .timeseries
        .push(pb::TimeSeries { labels_refs: vec![1, 4, 2, 3, 2, 3], ..mixed.timeseries[0].clone() });
    let answer = send(&firn, &packed(&mixed));
    expect("mixed", &answer, 400, &["no metric name", "4 samples refused, 2 stored"]);
    assert_eq!(written(&answer), [Some(2), Some(0), Some(0)], "the known one again, and the neighbour");
    assert_eq!((values(&firn, "known"), values(&firn, "neighbour")), (vec![1.0], vec![3.0]));
    assert!(values(&firn, "future").is_empty());

    let mut wide =
        request(&[("wide", now, 1.0), ("wide", now, 2.0), ("wide", now, 3.0), ("narrow", now, 4.0)]);
    for (i, instance) in ["a", "b", "c"].into_iter().enumerate() {
        wide.symbols.push(instance.to_string());
        let instance = wide.symbols.len() as u32 - 1;
        wide.symbols.push(format!("zone{i}"));
        wide.timeseries[i].labels_refs.extend([instance + 1, instance]);
    }
    let answer = send(&firn, &packed(&wide));
    expect("too many of a metric", &answer, 400, &["max_series_per_metric of 2", "wide"]);
    assert_eq!(written(&answer), [Some(3), Some(0), Some(0)]);
    assert_eq!(values(&firn, "count({job=\"v2\",__name__=~\"wide|narrow\"})"), [3.0]);
}
