//! The decoder against prost: whatever message, whatever form, the same batch; and whatever bytes, no harm.

use distributor::{DecodeError, Decoded, Decoder, Points, Workspace};
use limits::{Limits, LimitsHandle, Names, PromDuration, TranslationStrategy};
use model::TenantId;
use proptest::prelude::*;
use prost::Message;
use runtime::{Clock, MemoryPart};
use wire::RefusalReason;
use wire::generated::opentelemetry::collector::metrics::v1::ExportMetricsServiceRequest;
use wire::generated::opentelemetry::metrics::v1::metric::Data;

use super::generated::{any_request, attribute, gauge, json, of_metrics};
use super::{oracle, recorded};
use crate::mutated::Random;
use crate::oracle::{ONE_SHARD, Seen, seen};

fn decoder(limits: &Limits) -> Decoder {
    let clock = Clock::manual(1_795_251_153_981).0;
    Decoder::new(LimitsHandle::fixed(limits.clone()), ONE_SHARD, clock, 1 << 20, 42)
}

fn decode(decoder: &Decoder, body: &[u8], work: &mut Workspace) -> Result<(Seen, Points), DecodeError> {
    work.reset();
    work.text.extend_from_slice(body);
    let mut reservation = MemoryPart::new("test", 256 << 20).reserve(0).unwrap();
    let decoded = decoder.otlp(&TenantId::anonymous(), work, &mut reservation);
    if decoded.is_err() {
        let n = work.batch.shards.len() + work.batch.metadata.len();
        assert_eq!(n, 0, "nothing of a malformed body is kept");
    }
    let (decoded, points) = decoded?;
    assert!(points.refused == 0 || refuses(&decoded), "{decoded:?}");
    Ok((seen(&work.batch), points))
}

/// Whether something was refused that was not refused for its time alone.
fn refuses(decoded: &Decoded) -> bool {
    let by_time = [RefusalReason::TooOld, RefusalReason::TooFarInFuture];
    decoded.refused.refused.iter().any(|refusal| !by_time.contains(&refusal.reason))
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let strategy = prop::sample::select(vec![
        TranslationStrategy::UnderscoreEscapingWithSuffixes,
        TranslationStrategy::UnderscoreEscapingWithoutSuffixes,
        TranslationStrategy::NoUTF8EscapingWithSuffixes,
        TranslationStrategy::NoTranslation,
    ]);
    (strategy, 0..3, any::<[bool; 4]>()).prop_map(|(strategy, promotion, [keep, scope, custom, delta])| {
        let names: Names = ["host.name", "a.b", "job", "zone"].into_iter().collect();
        let none = Names::default();
        let (promoted, ignored) = match promotion {
            0 => (none.clone(), none),
            1 => (names, none),
            _ => (none, names),
        };
        Limits {
            creation_grace_period: PromDuration::secs(0),
            otel_translation_strategy: strategy,
            promote_otel_resource_attributes: promoted,
            promote_all_otel_resource_attributes: promotion == 2,
            ignore_otel_resource_attributes: ignored,
            otel_keep_identifying_resource_attributes: keep,
            otel_promote_scope_metadata: scope,
            otel_convert_histograms_to_nhcb: custom,
            otel_native_delta_ingestion: delta,
            ..Limits::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Twice: everything new, everything known.
    #[test]
    fn every_request_becomes_what_the_oracle_makes_of_it(request in any_request(), limits in any_limits()) {
        let expected = oracle::expected(&request, &limits);
        let decoder = decoder(&limits);
        let mut work = Workspace::default();
        for round in 0..2 {
            let (seen, points) = decode(&decoder, &request.encode_to_vec(), &mut work).unwrap();
            prop_assert_eq!(&seen, &expected.seen, "round {}", round);
            let counted = (points.received, points.refused);
            prop_assert_eq!(counted, (expected.n_points, expected.n_refused), "round {}", round);
        }
    }
}

#[test]
fn a_key_that_is_there_twice_refuses_its_point_only_when_both_have_a_value() {
    let limits = Limits {
        otel_translation_strategy: TranslationStrategy::NoTranslation,
        promote_all_otel_resource_attributes: true,
        ..Limits::default()
    };
    for (first, second, n_refused) in [("", "a", 0), ("a", "", 0), ("", "", 0), ("a", "b", 1), ("a", "a", 1)]
    {
        let mut metric = gauge("http.requests", 1.0);
        let Some(Data::Gauge(data)) = &mut metric.data else { panic!("it is a gauge") };
        data.data_points[0].attributes = vec![attribute("le", first), attribute("le", second)];
        let request = of_metrics(&[("le", "a")], vec![metric]);
        let expected = oracle::expected(&request, &limits);
        assert_eq!(expected.n_refused, n_refused, "{first:?} and {second:?}");
        let (decoder, mut work) = (decoder(&limits), Workspace::default());
        for round in 0..2 {
            let (seen, points) = decode(&decoder, &request.encode_to_vec(), &mut work).unwrap();
            assert_eq!(seen, expected.seen, "{first:?} and {second:?} in round {round}");
            assert_eq!(points.refused, n_refused, "{first:?} and {second:?} in round {round}");
        }
    }
}

#[test]
fn a_request_as_json_becomes_what_it_becomes_as_protobuf() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let limits = recorded::taking_all();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stand = crate::http::stand_with(limits, MemoryPart::unlimited("push"), false);
    let mut runner = TestRunner::deterministic();
    for i in 0..200 {
        let request = any_request().new_tree(&mut runner).unwrap().current();
        let send = |form: &'static str, body: Vec<u8>| {
            let answer = runtime.block_on(stand.send("POST", "/v1/metrics", &[("content-type", form)], body));
            (answer.status, stand.seen())
        };
        let protobuf = send("application/x-protobuf", request.encode_to_vec());
        assert_eq!(protobuf.0, 200);
        assert_eq!(send("application/json", json(&request).into_bytes()), protobuf, "{i}");
    }
}

#[test]
fn a_mutated_message_is_refused_or_becomes_what_prost_makes_of_it() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let limits = recorded::taking_all();
    let decoder = decoder(&limits);
    let mut runner = TestRunner::deterministic();
    let made = |runner: &mut TestRunner| any_request().new_tree(runner).unwrap().current().encode_to_vec();
    let mut messages: Vec<Vec<u8>> = (0..50).map(|_| made(&mut runner)).collect();
    messages.extend(recorded::all().iter().map(|recorded| recorded.message.encode_to_vec()));
    let mut work = Workspace::default();
    let mut random = Random(0x07E1);
    let (mut decoded, mut malformed, mut only_ours, mut repeated) = (0, 0, 0, 0);
    for i in 0..6000 {
        let body = random.mutate(&messages[i % messages.len()]);
        let ours = decode(&decoder, &body, &mut work);
        match (ExportMetricsServiceRequest::decode(&body[..]), ours) {
            (Ok(request), Ok(_)) if !oracle::knows_units(&request) => {}
            (Ok(request), Ok((seen, _))) => {
                let expected = oracle::expected(&request, &limits).seen;
                if seen == expected {
                    decoded += 1;
                    continue;
                }
                // A value that is there twice is one value to prost where it is a message; we take the last.
                let (again, _) = decode(&decoder, &request.encode_to_vec(), &mut work).unwrap();
                assert_eq!(again, expected, "{i}: {body:02x?}");
                repeated += 1;
            }
            (Err(_), Err(_)) => malformed += 1,
            // What nobody asks for is not looked at, and what is not UTF-8 is refused point by point.
            (Err(_), Ok(_)) => only_ours += 1,
            (Ok(prost), Err(ours)) => panic!("{i}: {ours}: {prost:?}: {body:02x?}"),
        }
    }
    println!(
        "{decoded} decoded, {malformed} malformed, {only_ours} refused by prost alone, {repeated} repeated"
    );
    assert!(decoded > 300 && malformed > 300 && only_ours < 3000 && repeated < 60);
}

#[test]
fn mutated_json_is_refused_or_keeps_the_shape_of_a_batch() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stand = crate::http::stand_with(recorded::taking_all(), MemoryPart::new("push", 64 << 20), false);
    let mut runner = TestRunner::deterministic();
    let mut random = Random(0x1503);
    let (mut taken, mut refused) = (0, 0);
    let texts: Vec<String> =
        (0..40).map(|_| json(&any_request().new_tree(&mut runner).unwrap().current())).collect();
    for i in 0..4000 {
        let body = random.mutate(texts[i % texts.len()].as_bytes());
        let headers = [("content-type", "application/json")];
        // The stand reads every batch that reaches it, and checks its shape.
        let answer = runtime.block_on(stand.send("POST", "/v1/metrics", &headers, body));
        match answer.status {
            200 => taken += 1,
            400 => refused += 1,
            other => panic!("{other}: {}", answer.body),
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 50 && refused > 500);
}
