//! Stand-ins for exporters, for those who have no recording.

use std::f64::consts::TAU;
use std::sync::Arc;

use crate::Histograms;
use crate::recording::{BOUNDS, Latencies, Recorded, Recording, Values};

/// Scrapes in a synthetic recording.
const SCRAPES: usize = 1200;

/// A stand-in for a node_exporter with the mix of a real one: two thirds of the series never change, the rest are
/// counters, gauges with few and with many values.
pub(crate) fn node() -> Recording {
    let mut noise = Noise(7);
    let mut series = Vec::new();
    for i in 0..507 {
        let labels = vec![
            ("__name__".to_string(), format!("node_metric_{:03}", i / 4)),
            ("device".to_string(), format!("dev{}", i % 4)),
        ];
        let values = (0..SCRAPES).scan(1000.0 * i as f64, |level, n| {
            match i % 100 {
                0..65 => {}
                65..77 => *level += (noise.next() * 40.0).floor(),
                77..83 => *level = (noise.next() * 4.0).floor(),
                _ => {
                    *level = ((5e6 + 1e6 * (n as f64 / 97.0 * TAU).sin() + noise.next() * 1e5) / 4096.0)
                        .floor()
                        * 4096.0
                }
            }
            Some(*level)
        });
        series.push(Recorded { labels, values: Values::Floats(values.collect()) });
    }
    Recording { series }
}

/// A service with a latency histogram by route, method and status.
pub(crate) fn http(histograms: Histograms) -> Recording {
    let mut noise = Noise(11);
    let mut series = Vec::new();
    for i in 0..60 {
        let labels = vec![
            ("__name__".to_string(), "http_request_duration_seconds".to_string()),
            ("route".to_string(), format!("/api/v1/thing{}", i / 4)),
            ("method".to_string(), ["GET", "POST"][i % 2].to_string()),
            ("code".to_string(), ["200", "500"][i / 2 % 2].to_string()),
        ];
        let mut total = Latencies::default();
        let scrapes = (0..SCRAPES).map(|_| {
            let requests = (noise.next() * 20.0).floor();
            for (b, upto) in total.cumulative.iter_mut().enumerate() {
                *upto += (requests * (b + 1) as f64 / BOUNDS.len() as f64).floor();
            }
            total.sum += requests * noise.next() * 0.1;
            total
        });
        let scrapes: Arc<[Latencies]> = scrapes.collect();
        if histograms != Histograms::Native {
            series.push(Recorded { labels: labels.clone(), values: Values::Classic(scrapes.clone()) });
        }
        if histograms != Histograms::Classic {
            series.push(Recorded { labels, values: Values::Native(scrapes) });
        }
    }
    Recording { series }
}

/// Numbers in 0…1 that are the same in every run (xorshift64*, Marsaglia 2003, Vigna 2016).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}
