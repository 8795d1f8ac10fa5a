//! Bytes per series and per sample on a load like a node_exporter's.

use super::*;

/// A generator that repeats: xorshift.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// What series of a node_exporter do: most never change for hours, the rest are counters of events and bytes,
/// seconds with two decimals, and gauges. It compresses a little worse than the recording below.
fn step(kind: usize, value: f64, chance: &mut Chance) -> f64 {
    match kind % 20 {
        0..=12 => value,
        13..=14 => value + chance.next(300) as f64,
        15 => value + (chance.next(4) * 4096) as f64,
        16..=17 => ((value * 100.0).round() + chance.next(1500) as f64) / 100.0,
        18 => 4096.0 * (500_000 + chance.next(20_000)) as f64,
        _ => (chance.next(1_000_000) as f64) / 1e6,
    }
}

struct Fleet {
    series: Vec<Vec<Labels>>,
    values: Vec<Vec<f64>>,
    chance: Chance,
}

impl Fleet {
    fn new(n_targets: usize) -> Fleet {
        let labels = |target: usize, i: usize| {
            Labels::from_pairs([
                ("__name__", format!("node_some_subsystem_{}_total", i / 6)),
                ("instance", format!("host-{target:03}.example.net:9100")),
                ("job", "node".to_string()),
                ("device", format!("device{}", i % 6)),
                ("mode", ["user", "system", "idle"][i % 3].to_string()),
            ])
        };
        let series = (0..n_targets).map(|t| (0..507).map(|i| labels(t, i)).collect()).collect();
        Fleet { series, values: vec![vec![1000.0; 507]; n_targets], chance: Chance(88_172_645_463_325_252) }
    }

    fn scrape(&mut self, head: &mut ShardHead, ts: i64) {
        for (target, series) in self.series.iter().enumerate() {
            for (i, value) in self.values[target].iter_mut().enumerate() {
                *value = step(i, *value, &mut self.chance);
            }
            let ts = ts + 40 * target as i64 + self.chance.next(5) as i64;
            let samples: Vec<Float> = series
                .iter()
                .zip(&self.values[target])
                .map(|(labels, value)| (labels, ts, *value, 0))
                .collect();
            push(head, &samples, &RULES);
        }
    }
}

#[test]
fn a_series_takes_at_most_a_kibibyte_with_two_and_a_half_hours_and_320_bytes_when_just_born() {
    let n_targets = 2;
    let n_series = 507 * n_targets;
    let mut head = ShardHead::new(HeadConfig { window_ms: 7_200_000 });
    let mut fleet = Fleet::new(n_targets);
    fleet.scrape(&mut head, 0);
    let born = head.bytes() as f64 / n_series as f64;
    for scrape in 1..600 {
        fleet.scrape(&mut head, scrape * 15_000);
    }
    let windows = head.windows();
    assert_eq!(windows.iter().map(|window| window.n_samples).sum::<usize>(), 600 * n_series);
    let all = head.bytes() as f64 / n_series as f64;
    let full = &windows[0];
    let per_sample = full.bytes as f64 / full.n_samples as f64;
    println!(
        "just born {born:.0} B/series, 600 samples {all:.0} B/series, closed window {per_sample:.3} B/sample"
    );
    assert!(born <= 320.0, "{born}");
    assert!(all <= 1024.0, "{all}");
    assert!(per_sample <= 1.05, "{per_sample}");
    for generation in &head.open {
        assert_eq!(generation.bytes(), generation.counted_bytes());
    }
}

#[test]
fn samples_in_open_rows_take_no_new_memory() {
    let mut head = ShardHead::new(HeadConfig { window_ms: 7_200_000 });
    let mut fleet = Fleet::new(2);
    // Sixteen rows are closed by the next one, which then finds its place ready.
    (0..18).for_each(|scrape| fleet.scrape(&mut head, scrape * 15_000));
    let before = head.bytes();
    (18..32).for_each(|scrape| fleet.scrape(&mut head, scrape * 15_000));
    assert_eq!(head.bytes(), before);
    fleet.scrape(&mut head, 32 * 15_000);
    assert!(head.bytes() > before);
}

/// Scrapes of the recorded node_exporter: the name and labels as written, and the value.
fn recording(n_scrapes: usize) -> Option<Vec<Vec<(String, f64)>>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let shared = std::env::var("FIRN_SHARED").unwrap_or_else(|_| beside.to_string());
    let file = std::fs::File::open(format!("{shared}/data/node_exporter.prom.zst")).ok()?;
    let lines = std::io::BufRead::lines(std::io::BufReader::new(zstd::Decoder::new(file).ok()?));
    let mut scrapes: Vec<Vec<(String, f64)>> = Vec::new();
    for line in lines {
        let line = line.unwrap();
        if line.starts_with("#TS") {
            if scrapes.len() == n_scrapes {
                break;
            }
            scrapes.push(Vec::new());
        } else if let Some((series, value)) = line.rsplit_once(' ') {
            scrapes.last_mut().unwrap().push((series.to_string(), value.parse().unwrap()));
        }
    }
    Some(scrapes)
}

#[test]
fn a_recorded_node_exporter_takes_at_most_one_byte_per_sample() {
    let Some(scrapes) = recording(600) else {
        println!("CORPUS ABSENT: node_exporter.prom.zst");
        return;
    };
    let mut head = ShardHead::new(HeadConfig { window_ms: 7_200_000 });
    let mut known = hashbrown::HashMap::new();
    let mut chance = Chance(1);
    let (mut wanted, mut n_samples) = (Vec::new(), 0);
    for (at, scrape) in scrapes.iter().enumerate() {
        let ts = at as i64 * 15_000 + chance.next(5) as i64;
        for (series, _) in scrape {
            known.entry(series.clone()).or_insert_with(|| labels_of(series));
        }
        let samples: Vec<Float> =
            scrape.iter().map(|(series, value)| (&known[series], ts, *value, 0)).collect();
        n_samples += samples.len();
        push(&mut head, &samples, &RULES);
        wanted.extend(scrape.iter().map(|(series, value)| (known[series].clone(), ts, value.to_bits())));
    }
    let per_series = head.bytes() as f64 / head.n_series() as f64;
    let full = &head.windows()[0];
    let per_sample = full.bytes as f64 / full.n_samples as f64;
    println!(
        "node_exporter: {per_series:.0} B/series with 600 samples, closed window {per_sample:.3} B/sample"
    );
    assert!(per_sample <= 1.0, "{per_sample}");
    assert!(per_series <= 1024.0, "{per_series}");
    let selected = select(&head, TimeRange::ALL);
    let mut found: Vec<(Labels, i64, u64)> = selected
        .iter()
        .flat_map(|series| floats(series).into_iter().map(|(ts, bits)| (series.labels.clone(), ts, bits)))
        .collect();
    wanted.sort();
    found.sort();
    assert_eq!(found.len(), n_samples);
    assert!(found == wanted);
}

fn labels_of(series: &str) -> Labels {
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    let mut labels =
        Labels::from_pairs([("__name__", name), ("job", "node"), ("instance", "host:9100")]).builder();
    for pair in rest.trim_end_matches('}').split("\",") {
        if let Some((name, value)) = pair.split_once("=\"") {
            labels.set(name, value.trim_end_matches('"'));
        }
    }
    labels.build()
}
