//! Remote write 2.0: the decoder against prost, and what its sender is told.

use distributor::{DecodeError, Workspace};
use model::{MetricType, Shards, TenantId};
use proptest::prelude::*;
use prost::Message;
use runtime::MemoryPart;
use wire::generated::prometheus2 as pb2;
use wire::{PushError, Pushed, RefusalReason};

use crate::differential::any_request;
use crate::http::{Answer, RW1, Stand, stand, stand_with};
use crate::mutated::Random;
use crate::sample_bodies::{NOW, everything, everything2, in_version_2, labels, series, snappy};
use crate::{corpus, oracle};

const RW2: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "2.0.0"),
];

/// A message of 2.0 from one of 1.0, with starts and descriptions, and its texts in another order.
fn any_request2() -> impl Strategy<Value = pb2::Request> {
    (any_request(), any::<u64>()).prop_map(|(request, seed)| {
        let mut random = Random(seed | 1);
        let mut request = in_version_2(&request);
        let n = request.symbols.len();
        for series in &mut request.timeseries {
            for sample in &mut series.samples {
                sample.start_timestamp = start(&mut random, sample.timestamp);
            }
            for histogram in &mut series.histograms {
                histogram.start_timestamp = start(&mut random, histogram.timestamp);
            }
            let mut symbol = || (random.next() % n as u64) as u32;
            series.metadata = match symbol() % 3 {
                0 => None,
                1 => Some(pb2::Metadata::default()),
                _ => Some(pb2::Metadata {
                    r#type: symbol() as i32 % 10,
                    help_ref: symbol(),
                    unit_ref: symbol(),
                }),
            };
        }
        renumber(&mut request, &mut random);
        request
    })
}

fn start(random: &mut Random, timestamp: i64) -> i64 {
    match random.next() % 4 {
        0 => timestamp,
        1 => timestamp.wrapping_sub(60_000),
        2 => random.next() as i64,
        _ => 0,
    }
}

/// Puts the texts in another order, with the empty one in front.
fn renumber(request: &mut pb2::Request, random: &mut Random) {
    let mut order: Vec<usize> = (1..request.symbols.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, random.next() as usize % (i + 1));
    }
    order.insert(0, 0);
    let mut number = vec![0; order.len()];
    for (new, old) in order.iter().enumerate() {
        number[*old] = new as u32;
    }
    request.symbols = order.iter().map(|old| request.symbols[*old].clone()).collect();
    let renumbered = |symbol: &mut u32| *symbol = number[*symbol as usize];
    for series in &mut request.timeseries {
        series.labels_refs.iter_mut().for_each(renumbered);
        series.exemplars.iter_mut().flat_map(|e| &mut e.labels_refs).for_each(renumbered);
        if let Some(metadata) = &mut series.metadata {
            renumbered(&mut metadata.help_ref);
            renumbered(&mut metadata.unit_ref);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Everything new, then everything known under other numbers, then in another order.
    #[test]
    fn every_message_of_2_0_becomes_what_the_oracle_makes_of_it(mut request in any_request2(), seed in any::<u64>()) {
        let one = oracle::decoder(oracle::ONE_SHARD);
        let four = oracle::decoder(Shards { count: 4, spread: 2 });
        let mut work = Workspace::default();
        let mut random = Random(seed | 1);
        for round in 0..4 {
            let body = request.encode_to_vec();
            let mut expected = oracle::expected2(&request).unwrap();
            prop_assert_eq!(&oracle::decode2(&one, &body, &mut work).unwrap(), &expected, "round {}", round);
            let mut seen = oracle::decode2(&four, &body, &mut work).unwrap();
            seen.series.sort();
            expected.series.sort();
            prop_assert_eq!(seen, expected, "round {}, sharded", round);
            renumber(&mut request, &mut random);
            if round > 0 && !request.timeseries.is_empty() {
                let n = request.timeseries.len();
                request.timeseries.swap(seed as usize % n, (seed >> 32) as usize % n);
            }
        }
    }
}

#[test]
fn a_mutated_message_of_2_0_is_refused_or_becomes_what_prost_makes_of_it() {
    let mut messages = vec![everything2().encode_to_vec()];
    let mut work = Workspace::default();
    let mut reservation = MemoryPart::unlimited("test").reserve(0).unwrap();
    for (_, packed, _) in corpus::bodies2() {
        work.unpack(&packed, 1 << 20, &mut reservation).unwrap();
        messages.push(work.batch.bytes.clone());
    }
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let mut random = Random(0x2_5EED);
    let (mut decoded, mut malformed, mut not_text) = (0, 0, 0);
    for i in 0..6000 {
        let body = random.mutate(&messages[i % messages.len()]);
        let seen = oracle::decode2(&decoder, &body, &mut work);
        match (pb2::Request::decode(&body[..]).map(|request| oracle::expected2(&request)), seen) {
            (Ok(Some(expected)), Ok(seen)) => {
                assert_eq!(seen, expected, "{i}: {body:02x?}");
                decoded += 1;
            }
            (Ok(None) | Err(_), Err(_)) => malformed += 1,
            (Err(e), Ok(_)) if e.to_string().contains("UTF-8") => not_text += 1,
            (Ok(_), Err(DecodeError::NotVersion2)) => {}
            (prost, ours) => panic!("{i}: prost {prost:?}, ours {ours:?}: {body:02x?}"),
        }
    }
    println!("{decoded} decoded, {malformed} malformed, {not_text} not UTF-8");
    assert!(decoded > 300 && malformed > 300 && not_text > 30);
}

/// A field of the wire: its number and bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

#[test]
fn references_and_symbols_may_come_in_any_legal_form() {
    let symbols =
        [field(4, b""), field(4, b"__name__"), field(4, b"up"), field(4, b"a"), field(4, b"b")].concat();
    let sample = field(2, &[0x10, 5]);
    let packed = field(1, &[1, 2, 3, 4]);
    let apart = vec![0x08, 1, 0x08, 2, 0x08, 3, 0x08, 4];
    let split = [field(1, &[1]), field(1, &[2, 3]), vec![0x08, 4]].concat();
    let usual = [packed.clone(), sample.clone()].concat();
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let mut work = Workspace::default();
    for series in [
        usual.clone(),
        [apart, sample.clone()].concat(),
        [split.clone(), sample.clone()].concat(),
        [sample.clone(), packed.clone()].concat(),
        [field(1, &[1, 2]), sample, field(1, &[3, 4])].concat(),
    ] {
        let series = field(5, &series);
        for body in [[symbols.clone(), series.clone()].concat(), [series.clone(), symbols.clone()].concat()] {
            let seen = oracle::decode2(&decoder, &body, &mut work).unwrap();
            let expected = oracle::expected2(&pb2::Request::decode(&body[..]).unwrap()).unwrap();
            assert_eq!((seen.series.len(), &seen), (1, &expected), "{body:02x?}");
            assert_eq!(seen.series[0].labels.len(), 2);
        }
    }
}

#[test]
fn what_refers_to_nothing_is_malformed_and_stores_nothing() {
    let good = || in_version_2(&everything());
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let mut work = Workspace::default();
    let n = good().symbols.len() as u32;
    let bad: [fn(&mut pb2::Request, u32); 6] = [
        |request, n| request.timeseries[3].labels_refs[1] = n,
        |request, _| request.timeseries[3].labels_refs.push(1),
        |request, n| request.timeseries[7].exemplars[0].labels_refs[0] = n,
        |request, _| request.timeseries[7].exemplars[0].labels_refs.push(0),
        |request, n| {
            request.timeseries[0].metadata = Some(pb2::Metadata { r#type: 1, help_ref: n, unit_ref: 0 })
        },
        |request, _| request.symbols[0] = "x".to_string(),
    ];
    for (i, spoil) in bad.into_iter().enumerate() {
        let mut request = good();
        spoil(&mut request, n);
        let seen = oracle::decode2(&decoder, &request.encode_to_vec(), &mut work);
        assert!(matches!(seen, Err(DecodeError::Malformed(_))), "{i}: {seen:?}");
    }
    let old = oracle::decode2(&decoder, &everything().encode_to_vec(), &mut work);
    assert_eq!(old, Err(DecodeError::NotVersion2));
}

#[test]
fn a_small_body_may_not_stand_for_more_text_than_a_body_may_have() {
    let long = "x".repeat(2000);
    let mut request =
        pb2::Request { symbols: vec![String::new(), "__name__".to_string()], ..Default::default() };
    request.symbols.extend((0..30).map(|i| format!("n{i}")));
    request.symbols.push(long);
    for i in 0..2000u32 {
        let mut labels_refs = vec![1, 2 + i % 20];
        labels_refs.extend((0..20).flat_map(|j| [2 + j, 32]));
        let samples = vec![pb2::Sample { value: 1.0, timestamp: NOW, start_timestamp: 0 }];
        request.timeseries.push(pb2::TimeSeries { labels_refs, samples, ..Default::default() });
    }
    let body = request.encode_to_vec();
    assert!(body.len() < 200_000);
    let decoder = oracle::decoder(oracle::ONE_SHARD);
    let seen = oracle::decode2(&decoder, &body, &mut Workspace::default());
    assert_eq!(seen, Err(DecodeError::Expands { limit: 32 << 20 }));
    let mut work = Workspace::default();
    work.body_mut(body.len()).copy_from_slice(&body);
    let mut reservation = MemoryPart::new("test", 4 << 20).reserve(0).unwrap();
    let refused = decoder.remote_write2(&TenantId::anonymous(), &mut work, &mut reservation);
    assert!(matches!(refused, Err(DecodeError::OverBudget(_))), "{refused:?}");
}

/// Status and the three counts.
fn told(answer: &Answer) -> (u16, [Option<u64>; 3]) {
    let count = |kind| answer.header(&format!("x-prometheus-remote-write-{kind}-written"))?.parse().ok();
    (answer.status, ["samples", "histograms", "exemplars"].map(count))
}

async fn push(stand: &Stand, request: &pb2::Request) -> Answer {
    stand.push(RW2, snappy(request)).await
}

#[tokio::test]
async fn recorded_requests_of_2_0_are_accepted_and_counted() {
    let limits =
        limits::Limits { creation_grace_period: limits::PromDuration::secs(0), ..Default::default() };
    let stand = stand_with(limits, MemoryPart::unlimited("push"), false);
    for (name, body, _) in corpus::bodies2() {
        let headers = corpus::headers(&name);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let answer = stand.push(&headers, body).await;
        let status = if corpus::INCONSISTENT2.contains(&name.as_str()) { 400 } else { 204 };
        let seen = stand.seen();
        assert_eq!(seen.len(), 1, "{name}");
        let count =
            |n: fn(&oracle::SeenSeries) -> usize| Some(seen[0].1.series.iter().map(n).sum::<usize>() as u64);
        let expected =
            [count(|s| s.floats.len()), count(|s| s.histograms.len()), count(|s| s.exemplars.len())];
        assert_eq!(told(&answer), (status, expected), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn only_senders_of_2_0_are_told_how_much_was_written() {
    let stand = stand();
    let mut request = everything();
    request.timeseries.retain(|series| !series.labels.iter().any(|label| label.value == "nameless"));
    let answer = push(&stand, &in_version_2(&request)).await;
    assert_eq!(told(&answer), (204, [Some(10), Some(2), Some(1)]), "{answer:?}");
    let answer = stand.push(RW1, snappy(&request)).await;
    assert_eq!(told(&answer), (204, [None; 3]));
    assert!(
        stand.metrics().contains(r#"requests_total{protocol="remote_write_2"} 1"#),
        "{}",
        stand.metrics()
    );
}

#[tokio::test]
async fn good_samples_are_stored_and_counted_beside_bad_ones_of_every_kind() {
    let stand = stand();
    let mut request = everything2();
    // Series 4 has no name; an invalid histogram, an endless exemplar and a repeated label more.
    request.timeseries[7].histograms[0].positive_deltas.pop();
    let long = request.symbols.len() as u32;
    request.symbols.push("x".repeat(200));
    request.timeseries[7].exemplars.push(pb2::Exemplar {
        labels_refs: vec![1, long],
        value: 1.0,
        timestamp: NOW,
    });
    let mut twice = request.timeseries[0].clone();
    twice.labels_refs.extend_from_within(2..4);
    request.timeseries.push(twice);
    let answer = push(&stand, &request).await;
    assert_eq!(told(&answer), (400, [Some(10), Some(1), Some(1)]), "{answer:?}");
    assert_eq!(answer.body, "series has no metric name: {job=\"nameless\"} (4 samples refused, 11 stored)");
    let metadata = &stand.seen()[0].1.metadata;
    assert!(metadata.contains(&(
        "zero".to_string(),
        MetricType::Counter,
        "Whether it answers".to_string(),
        String::new()
    )));
}

#[tokio::test]
async fn a_series_with_nothing_to_store_is_named_and_its_neighbours_are_kept() {
    let stand = stand();
    let mut request = everything2();
    request.timeseries.retain(|series| !series.samples.is_empty());
    request.timeseries.truncate(3);
    let mut empty = request.timeseries[1].clone();
    (empty.samples, empty.metadata) = (vec![], None);
    (empty.histograms, empty.exemplars) = (vec![], vec![]);
    let n_samples: usize = request.timeseries.iter().map(|series| series.samples.len()).sum();
    let all = told(&push(&stand, &request).await);
    request.timeseries.insert(1, empty.clone());
    let answer = push(&stand, &request).await;
    assert_eq!(told(&answer), (400, all.1), "{answer:?}");
    let said = format!("(0 samples refused, {n_samples} stored)");
    assert!(answer.body.starts_with("series has neither samples nor histograms: {"), "{answer:?}");
    assert!(answer.body.ends_with(&said), "{answer:?}");
    // One that only describes its family does bring something, and so does an exemplar alone.
    empty.metadata = everything2().timeseries.iter().find_map(|series| series.metadata);
    let only_described = pb2::Request { symbols: request.symbols.clone(), timeseries: vec![empty] };
    assert_eq!(told(&push(&stand, &only_described).await), (204, [Some(0); 3]));
}

#[tokio::test]
async fn what_the_ingester_refuses_is_not_counted_as_written() {
    let stand = stand();
    let mut pushed = Pushed { n_floats: 7, n_histograms: 2, n_exemplars: 1, ..Pushed::default() };
    pushed.refuse(RefusalReason::DuplicateTimestamp, 3, || "duplicate".to_string());
    stand.script(Ok(pushed));
    let answer = push(&stand, &in_version_2(&everything())).await;
    assert_eq!(told(&answer), (400, [Some(7), Some(2), Some(1)]), "{answer:?}");
    stand.script(Err(PushError::Unavailable { message: "disk full".to_string(), retry_after_secs: 8 }));
    let answer = push(&stand, &in_version_2(&everything())).await;
    assert_eq!(told(&answer), (503, [None; 3]), "it will send everything again: {answer:?}");
    stand.script(Err(PushError::Internal("oops".to_string())));
    assert_eq!(told(&push(&stand, &everything2()).await), (500, [None; 3]));
}

#[tokio::test]
async fn a_body_of_2_0_that_cannot_be_read_writes_nothing_and_says_so() {
    let stand = stand();
    let whole = everything2().encode_to_vec();
    let cut = snap::raw::Encoder::new().compress_vec(&whole[..whole.len() - 3]).unwrap();
    let mut dangling = everything2();
    dangling.timeseries[2].labels_refs[1] = 10_000;
    for (body, status) in [
        (cut, 400),
        (snappy(&dangling), 400),
        (b"garbage".to_vec(), 400),
        (Vec::new(), 400),
        (snappy(&everything()), 415),
    ] {
        let answer = stand.push(RW2, body).await;
        assert_eq!(told(&answer), (status, [Some(0); 3]), "{answer:?}");
        assert!(!answer.body.is_empty());
    }
    assert_eq!(stand.seen(), []);
    assert_eq!(stand.memory.used(), 0, "all memory is given back");
    let mut zstd = RW2.to_vec();
    zstd[1].1 = "zstd";
    assert_eq!(stand.push(&zstd, "").await.status, 415);
    // Announced as 1.0 it would be an empty message.
    assert_eq!(stand.push(RW1, snappy(&everything2())).await.status, 415);
    assert_eq!(stand.seen(), []);
}

#[tokio::test]
async fn a_request_may_repeat_a_series_and_bring_exemplars_alone() {
    let stand = stand();
    let up = [("__name__", "up"), ("job", "a"), ("ä.ö", "ü")];
    let mut request = wire::generated::prometheus::WriteRequest::default();
    for i in 0..50 {
        request.timeseries.push(series(&up, f64::from(i), NOW + i64::from(i)));
    }
    let exemplar = wire::generated::prometheus::Exemplar {
        labels: labels(&[("trace_id", "abc")]),
        value: 1.0,
        timestamp: NOW,
    };
    let alone = wire::generated::prometheus::TimeSeries {
        labels: labels(&up),
        exemplars: vec![exemplar],
        ..Default::default()
    };
    request.timeseries.push(alone);
    let answer = push(&stand, &in_version_2(&request)).await;
    assert_eq!(told(&answer), (204, [Some(50), Some(0), Some(1)]), "{answer:?}");
    let mut seen = stand.seen().remove(0).1.series;
    assert_eq!(seen.pop().map(|series| series.exemplars.len()), Some(1));
    assert_eq!(seen.len(), 50);
    assert!(seen.iter().all(|series| series.labels.len() == 3 && series.floats.len() == 1));
}

/// Large enough to be decoded off the threads that serve connections.
#[tokio::test]
async fn a_large_body_is_decoded_as_a_small_one_is() {
    let stand = stand();
    let mut request = wire::generated::prometheus::WriteRequest::default();
    for i in 0..8000 {
        let pod = format!("a-rather-long-name-of-a-pod-{i:020}-{i:080}");
        request.timeseries.push(series(&[("__name__", "up"), ("pod", &pod)], f64::from(i), NOW));
    }
    assert!(request.encoded_len() > 1 << 20);
    let mut expected = oracle::expected(&request).series;
    expected.sort();
    for (headers, body) in [(RW1, snappy(&request)), (RW2, snappy(&in_version_2(&request)))] {
        let answer = stand.push(headers, body).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        let (_, mut seen) = stand.seen().remove(0);
        seen.series.sort();
        assert!(seen.series == expected);
    }
    let text: String = (0..8000).map(|i| format!("up{{pod=\"{i:0150}\"}} {i}\n")).collect();
    assert!(text.len() > 1 << 20);
    assert_eq!(stand.import(&[], text).await.status, 204);
    assert_eq!(stand.seen().remove(0).1.series.len(), 8000);
    let mut garbled = snappy(&request);
    let middle = garbled.len() / 2;
    garbled.truncate(middle);
    assert_eq!(stand.push(RW1, garbled).await.status, 400);
    assert_eq!(stand.memory.used(), 0);
}
