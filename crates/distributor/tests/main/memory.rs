//! What is remembered between requests, and how much memory a request may take.

use std::sync::Arc;

use distributor::{DecodeError, Decoder, Workspace};
use limits::{Limits, LimitsConfig, LimitsHandle};
use model::TenantId;
use prost::Message;
use runtime::{Clock, MemoryPart};
use wire::generated::prometheus as pb;

use crate::oracle::{self, ONE_SHARD};
use crate::sample_bodies::{NOW, histogram, labels, series};

fn fleet(n: usize) -> pb::WriteRequest {
    let series = |i: usize| {
        let (i, target) = (i.to_string(), (i / 10).to_string());
        series(&[("__name__", "up"), ("id", &i), ("instance", &target), ("job", "node")], 1.0, NOW)
    };
    pb::WriteRequest { timeseries: (0..n).map(series).collect(), metadata: vec![] }
}

fn decode(
    decoder: &Decoder,
    request: &pb::WriteRequest,
    memory: u64,
) -> Result<distributor::Decoded, DecodeError> {
    let mut work = Workspace::default();
    let body = request.encode_to_vec();
    work.body_mut(body.len()).copy_from_slice(&body);
    let mut reservation = MemoryPart::new("requests", memory).reserve(0).unwrap();
    decoder.remote_write(&TenantId::anonymous(), &mut work, &mut reservation)
}

#[test]
fn a_known_series_is_not_looked_up_again() {
    let decoder = oracle::decoder(ONE_SHARD);
    let first = decode(&decoder, &fleet(1000), 0).unwrap().counts;
    assert_eq!((first.learned, first.unexpected), (1000, 1000));
    let second = decode(&decoder, &fleet(1000), 0).unwrap().counts;
    assert_eq!((second.learned, second.unexpected), (0, 1), "only the first has no predecessor");
    let mut reversed = fleet(1000);
    reversed.timeseries.reverse();
    let third = decode(&decoder, &reversed, 0).unwrap().counts;
    assert_eq!(third.learned, 0, "another order is found by hash");
    let fourth = decode(&decoder, &reversed, 0).unwrap().counts;
    assert!(fourth.unexpected < 100, "the other order was learned: {fourth:?}");
}

#[test]
fn tighter_limits_hold_for_series_that_were_accepted_before() {
    let handle = LimitsHandle::default();
    let decoder = Decoder::new(handle.clone(), ONE_SHARD, Clock::manual(NOW).0, 1 << 20, 7);
    for _ in 0..2 {
        assert_eq!(decode(&decoder, &fleet(5), 0).unwrap().refused.refused, []);
    }
    let defaults = Limits { max_label_names_per_series: 3, ..Limits::default() };
    handle.replace(&LimitsConfig { defaults, ..LimitsConfig::default() }).unwrap();
    for _ in 0..2 {
        let refused = decode(&decoder, &fleet(5), 0).unwrap().refused.refused;
        assert_eq!(refused[0].n_samples, 5);
        assert!(refused[0].message.contains("max_label_names_per_series is 3"));
    }
    handle.replace(&LimitsConfig::default()).unwrap();
    assert_eq!(decode(&decoder, &fleet(5), 0).unwrap().refused.refused, []);
}

#[test]
fn a_memo_that_is_too_small_costs_time_and_nothing_else() {
    let limits = LimitsHandle::default();
    let decoder = Decoder::new(limits, ONE_SHARD, Clock::manual(NOW).0, 20_000, 7);
    let mut work = Workspace::default();
    for n in [100, 1000, 10, 1000, 100] {
        let request = fleet(n);
        let seen = oracle::decode(&decoder, &request.encode_to_vec(), &mut work).unwrap();
        assert!(seen == oracle::expected(&request), "{n}");
        assert!(decoder.memo_bytes() <= 20_000, "{}", decoder.memo_bytes());
    }
}

#[test]
fn requests_that_are_decoded_at_the_same_time_do_not_disturb_each_other() {
    let decoder = Arc::new(oracle::decoder(ONE_SHARD));
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let decoder = Arc::clone(&decoder);
            scope.spawn(move || {
                let mut work = Workspace::default();
                for round in 0..20 {
                    let mut request = fleet(200 + 10 * thread);
                    request.timeseries.rotate_left((round * 37 + thread * 11) % 200);
                    let seen = oracle::decode(&decoder, &request.encode_to_vec(), &mut work).unwrap();
                    assert!(seen == oracle::expected(&request));
                }
            });
        }
    });
}

#[test]
fn a_small_message_that_would_become_large_columns_is_refused_by_name() {
    let packed = pb::TimeSeries {
        labels: labels(&[("__name__", "h")]),
        histograms: vec![pb::Histogram { positive_deltas: vec![0; 600], ..histogram(NOW) }],
        ..Default::default()
    };
    let tiny_samples = pb::TimeSeries {
        labels: labels(&[("__name__", "up")]),
        samples: vec![pb::Sample::default(); 100_000],
        ..Default::default()
    };
    for (timeseries, n) in [(packed, 300), (tiny_samples, 1)] {
        let request = pb::WriteRequest { timeseries: vec![timeseries; n], metadata: vec![] };
        let decoder = oracle::decoder(ONE_SHARD);
        assert!(request.encoded_len() < 300_000, "{}", request.encoded_len());
        let refused = decode(&decoder, &request, 2 << 20).unwrap_err();
        assert!(matches!(refused, DecodeError::OverBudget(_)), "{refused}");
        assert!(decode(&decoder, &request, 64 << 20).is_ok());
    }
}

#[test]
fn a_lost_order_with_new_and_refused_series_between_is_decoded_right() {
    let decoder = oracle::decoder(ONE_SHARD);
    let mut work = Workspace::default();
    let mut seed = 0x5EEDu64;
    for round in 0..20 {
        let mut request = fleet(300 + round * 10);
        request.timeseries.push(series(&[("job", "nameless")], 1.0, NOW));
        request.timeseries.push(series(
            &[("__name__", "up"), ("zone", "z"), ("empty", ""), ("a", "1")],
            2.0,
            NOW,
        ));
        for i in (1..request.timeseries.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            request.timeseries.swap(i, (seed >> 33) as usize % (i + 1));
        }
        let seen = oracle::decode(&decoder, &request.encode_to_vec(), &mut work).unwrap();
        assert!(seen == oracle::expected(&request), "round {round}");
        assert_eq!(seen.refused_labels, 1);
    }
}
