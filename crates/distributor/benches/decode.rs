//! Decode of remote write bodies: unpacking, look-up, columns; per request of 2,000 samples.

use std::collections::HashMap;

use distributor::{DecodeError, Decoded, Decoder, Workspace};
use divan::counter::ItemsCount;
use limits::{Limits, LimitsHandle, PromDuration};
use model::{Shards, TenantId};
use prost::Message;
use runtime::{Clock, MemoryPart, Reservation};
use wire::generated::prometheus as pb;
use wire::generated::prometheus2 as pb2;

const SERIES: usize = 50_000;
const PER_BODY: usize = 2_000;

fn main() {
    divan::main();
}

fn decoder() -> Decoder {
    let limits = Limits { creation_grace_period: PromDuration::secs(600), ..Limits::default() };
    let shards = Shards { count: 4, spread: 1 };
    Decoder::new(LimitsHandle::fixed(limits), shards, Clock::manual(1_795_251_153_981).0, 64 << 20, 7)
}

/// A fleet of node exporters, about 180 bytes of labels a series; `unsorted` as vmagent sends them.
fn fleet(round: u64, unsorted: bool) -> Vec<pb::TimeSeries> {
    let label = |name: &str, value: String| pb::Label { name: name.to_string(), value };
    let series = |i: usize| {
        let (target, metric) = (i / 500, i % 500);
        let mut labels = vec![
            label("__name__", format!("node_some_longer_metric_name_total_{}", metric / 8)),
            label("cpu", (metric % 8).to_string()),
            label("device", format!("/dev/disk/by-id/{metric}")),
            label("instance", format!("host-{target}.example.org:9100")),
            label("job", "node".to_string()),
            label("mode", "system".to_string()),
        ];
        if unsorted {
            labels[1..].rotate_left(1);
        }
        let value = (i as u64 * 7 + round * 15) as f64;
        let timestamp = 1_795_251_000_000 + target as i64 + round as i64 * 15;
        pb::TimeSeries { labels, samples: vec![pb::Sample { value, timestamp }], ..Default::default() }
    };
    (0..SERIES).map(series).collect()
}

fn pack(series: &[pb::TimeSeries]) -> Vec<Vec<u8>> {
    let pack = |chunk: &[pb::TimeSeries]| {
        let request = pb::WriteRequest { timeseries: chunk.to_vec(), metadata: vec![] };
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("a body fits")
    };
    series.chunks(PER_BODY).map(pack).collect()
}

/// The same bodies in remote write 2.0, with their texts numbered as they are met.
fn pack2(series: &[pb::TimeSeries]) -> Vec<Vec<u8>> {
    let pack = |chunk: &[pb::TimeSeries]| {
        let mut symbols = vec![String::new()];
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut symbol = |text: &String| {
            *known.entry(text.clone()).or_insert_with(|| {
                symbols.push(text.clone());
                symbols.len() as u32 - 1
            })
        };
        let timeseries = chunk
            .iter()
            .map(|one| pb2::TimeSeries {
                labels_refs: one.labels.iter().flat_map(|l| [symbol(&l.name), symbol(&l.value)]).collect(),
                samples: (one.samples.iter())
                    .map(|s| pb2::Sample { value: s.value, timestamp: s.timestamp, start_timestamp: 0 })
                    .collect(),
                metadata: Some(pb2::Metadata::default()),
                ..Default::default()
            })
            .collect();
        let request = pb2::Request { symbols, timeseries };
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("a body fits")
    };
    series.chunks(PER_BODY).map(pack).collect()
}

/// As [`pack`], in vmagent's dialect.
fn pack_zstd(series: &[pb::TimeSeries]) -> Vec<Vec<u8>> {
    let pack = |chunk: &[pb::TimeSeries]| {
        let request = pb::WriteRequest { timeseries: chunk.to_vec(), metadata: vec![] };
        zstd::bulk::compress(&request.encode_to_vec(), 1).expect("a body fits")
    };
    series.chunks(PER_BODY).map(pack).collect()
}

/// Every body in another order, the same multiset of series in each.
fn shuffle(series: &mut [pb::TimeSeries], mut seed: u64) {
    for body in series.chunks_mut(PER_BODY) {
        for i in (1..body.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            body.swap(i, (seed >> 33) as usize % (i + 1));
        }
    }
}

fn run(decoder: &Decoder, work: &mut Workspace, bodies: &[Vec<u8>]) -> usize {
    run_with(work, bodies, |tenant, work, reservation| decoder.remote_write(tenant, work, reservation))
}

fn run2(decoder: &Decoder, work: &mut Workspace, bodies: &[Vec<u8>]) -> usize {
    run_with(work, bodies, |tenant, work, reservation| decoder.remote_write2(tenant, work, reservation))
}

fn run_with(
    work: &mut Workspace,
    bodies: &[Vec<u8>],
    decode: impl Fn(&TenantId, &mut Workspace, &mut Reservation) -> Result<Decoded, DecodeError>,
) -> usize {
    let tenant = TenantId::anonymous();
    let memory = MemoryPart::unlimited("bench");
    let mut n = 0;
    for body in bodies {
        let mut reservation = memory.reserve(0).expect("there is no limit");
        work.unpack(body, 32 << 20, &mut reservation).expect("the body is good");
        let decoded = decode(&tenant, work, &mut reservation).expect("the message is good");
        n += decoded.counts.floats as usize;
        work.reset();
    }
    assert_eq!(n, SERIES);
    n
}

/// The order of the scrape before: what senders do.
#[divan::bench]
fn ordered(bencher: divan::Bencher) {
    let (decoder, mut work) = (decoder(), Workspace::default());
    let rounds: Vec<_> = (0..4).map(|round| pack(&fleet(round, false))).collect();
    run(&decoder, &mut work, &rounds[0]);
    let mut round = 0;
    bencher.counter(ItemsCount::new(SERIES)).bench_local(|| {
        round += 1;
        run(&decoder, &mut work, &rounds[round % 4])
    });
}

/// Remote write 2.0 in the order of the scrape before. Two thousand series a body do not divide the fleet's targets, so
/// the numbers of the texts differ from body to body, but not from round to round.
#[divan::bench]
fn ordered_version_2(bencher: divan::Bencher) {
    let (decoder, mut work) = (decoder(), Workspace::default());
    let rounds: Vec<_> = (0..4).map(|round| pack2(&fleet(round, false))).collect();
    run2(&decoder, &mut work, &rounds[0]);
    let mut round = 0;
    bencher.counter(ItemsCount::new(SERIES)).bench_local(|| {
        round += 1;
        run2(&decoder, &mut work, &rounds[round % 4])
    });
}

/// vmagent's dialect in the order of the scrape before.
#[divan::bench]
fn ordered_zstd(bencher: divan::Bencher) {
    let (decoder, mut work) = (decoder(), Workspace::default());
    let rounds: Vec<_> = (0..4).map(|round| pack_zstd(&fleet(round, true))).collect();
    run(&decoder, &mut work, &rounds[0]);
    let mut round = 0;
    bencher.counter(ItemsCount::new(SERIES)).bench_local(|| {
        round += 1;
        run(&decoder, &mut work, &rounds[round % 4])
    });
}

/// Labels in the order of the exposition: each run has to be brought along in canonical form.
#[divan::bench]
fn ordered_labels_unsorted(bencher: divan::Bencher) {
    let (decoder, mut work) = (decoder(), Workspace::default());
    let rounds: Vec<_> = (0..4).map(|round| pack(&fleet(round, true))).collect();
    run(&decoder, &mut work, &rounds[0]);
    let mut round = 0;
    bencher.counter(ItemsCount::new(SERIES)).bench_local(|| {
        round += 1;
        run(&decoder, &mut work, &rounds[round % 4])
    });
}

/// Another order within each body, every time.
#[divan::bench]
fn shuffled(bencher: divan::Bencher) {
    let (decoder, mut work) = (decoder(), Workspace::default());
    let rounds: Vec<_> = (0..8)
        .map(|round| {
            let mut series = fleet(round, false);
            shuffle(&mut series, round + 1);
            pack(&series)
        })
        .collect();
    run(&decoder, &mut work, &rounds[0]);
    let mut round = 0;
    bencher.counter(ItemsCount::new(SERIES)).bench_local(|| {
        round += 1;
        run(&decoder, &mut work, &rounds[round % 8])
    });
}

/// The same of remote write 2.0.
#[divan::bench]
fn shuffled_version_2(bencher: divan::Bencher) {
    let (decoder, mut work) = (decoder(), Workspace::default());
    let rounds: Vec<_> = (0..8)
        .map(|round| {
            let mut series = fleet(round, false);
            shuffle(&mut series, round + 1);
            pack2(&series)
        })
        .collect();
    run2(&decoder, &mut work, &rounds[0]);
    let mut round = 0;
    bencher.counter(ItemsCount::new(SERIES)).bench_local(|| {
        round += 1;
        run2(&decoder, &mut work, &rounds[round % 8])
    });
}

/// Nothing was seen before.
#[divan::bench]
fn new_series(bencher: divan::Bencher) {
    let bodies = pack(&fleet(0, false));
    let mut work = Workspace::default();
    bencher
        .counter(ItemsCount::new(SERIES))
        .with_inputs(decoder)
        .bench_local_values(|decoder| run(&decoder, &mut work, &bodies));
}

/// The same of remote write 2.0.
#[divan::bench]
fn new_series_version_2(bencher: divan::Bencher) {
    let bodies = pack2(&fleet(0, false));
    let mut work = Workspace::default();
    bencher
        .counter(ItemsCount::new(SERIES))
        .with_inputs(decoder)
        .bench_local_values(|decoder| run2(&decoder, &mut work, &bodies));
}
