//! Prometheus 3.15 writes with every feature it has, in both versions of remote write, and is the truth itself: what
//! it holds is what it scraped, and Firn must hold the same.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use system_tests::{FirnOptions, get_json, get_json_with, now_ms, part, wait_until};

use super::sameness::{Mortal, Pair, Window, folder};
use super::servers::{Server, start_prometheus, sum};
use super::target::Target;

/// How one of them is started.
struct Variant {
    name: &'static str,
    version: Version,
    /// Beside `exemplar-storage`.
    features: &'static str,
    /// Lines under `global:`.
    global: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Version {
    One,
    Two,
}

const VARIANTS: [Variant; 5] = [
    Variant { name: "remote-write-1", version: Version::One, features: "", global: "" },
    Variant { name: "remote-write-2", version: Version::Two, features: "", global: "" },
    Variant {
        name: "start-timestamps",
        version: Version::Two,
        features: ",st-storage",
        global: "  scrape_protocols: [OpenMetricsText1.0.0, PrometheusProto, PrometheusText0.0.4]\n",
    },
    Variant {
        name: "type-unit-nhcb",
        version: Version::Two,
        features: ",type-and-unit-labels",
        global: "  convert_classic_histograms_to_nhcb: true\n",
    },
    Variant {
        name: "zero-ingestion",
        version: Version::Two,
        features: ",created-timestamp-zero-ingestion",
        global: "",
    },
];

/// How long they scrape: two resets of the target's counters.
const SCRAPED: Duration = Duration::from_secs(25);
/// The end of what is compared lies so far back that every sender has delivered it.
const SETTLED: Duration = Duration::from_secs(8);

#[test]
fn prometheus_writes_in_both_versions_with_every_feature_and_firn_holds_the_same() {
    let Some(binary) = part("bin/prometheus") else { return };
    let mut mortal = Mortal::start(FirnOptions::default());
    let target = Target::start();
    let dir = folder(&mortal, "senders");
    let url = mortal.firn().url().to_string();
    let senders: Vec<Server> =
        VARIANTS.iter().map(|variant| start(variant, &binary, &dir, &url, &target)).collect();
    // Remote write leaves out what is older than its own start: zeros at the start of a process.
    thread::sleep(Duration::from_secs(1));
    let begun = now_ms();
    thread::sleep(SCRAPED);
    let window = Window { from: begun, to: now_ms() };
    thread::sleep(SETTLED);

    for (variant, sender) in VARIANTS.iter().zip(&senders) {
        nothing_failed(variant, sender);
    }
    let pairs: Vec<Pair> =
        VARIANTS.iter().zip(&senders).map(|(variant, sender)| variant.pair(sender)).collect();
    described_the_same(&url, &senders[0]);
    mortal.check_through_its_life(&pairs, window);
}

impl Variant {
    fn pair(&self, sender: &Server) -> Pair {
        let (prometheus, tenant) = (sender.url.clone(), self.name.to_string());
        Pair { what: self.name, prometheus, tenant, exemplars: true }
    }

    fn config(&self, me: &str, url: &str, target: &Target) -> String {
        let message = match self.version {
            Version::One => "prometheus.WriteRequest",
            Version::Two => "io.prometheus.write.v2.Request",
        };
        format!(
            "global:\n  scrape_interval: 1s\n  scrape_native_histograms: true\n  \
             always_scrape_classic_histograms: true\n{}remote_write:\n\
             - url: {url}/api/v1/push\n  headers: {{X-Scope-OrgID: {}}}\n  protobuf_message: {message}\n  \
             send_exemplars: true\n  send_native_histograms: true\n  \
             metadata_config: {{send: true, send_interval: 3s}}\n  queue_config: {{batch_send_deadline: 1s}}\n\
             scrape_configs:\n\
             - {{job_name: prometheus, static_configs: [{{targets: ['{me}']}}]}}\n\
             - {{job_name: shop, static_configs: [{{targets: ['{}']}}]}}\n",
            self.global, self.name, target.address
        )
    }
}

fn start(variant: &Variant, binary: &Path, dir: &Path, url: &str, target: &Target) -> Server {
    let features = format!("--enable-feature=exemplar-storage{}", variant.features);
    start_prometheus(variant.name, binary, dir, &[&features], |me| variant.config(me, url, target))
}

/// By its own count: with remote write 2.0 that is what Firn's written-headers say.
fn nothing_failed(variant: &Variant, sender: &Server) {
    let count = |metrics: &str, what: &str| sum(metrics, &format!("prometheus_remote_storage_{what}_total"));
    let mut metrics = String::new();
    let kinds = ["samples", "histograms", "exemplars"];
    let delivered = wait_until(Duration::from_secs(10), || {
        metrics = sender.metrics();
        kinds.iter().all(|kind| count(&metrics, kind) > 0.0).then_some(())
    });
    let sent = kinds.map(|kind| count(&metrics, kind));
    println!("{}: {sent:?} {kinds:?} sent", variant.name);
    assert!(delivered.is_some(), "{} did not send all kinds\n{}", variant.name, sender.child.output());
    for kind in ["samples", "histograms", "exemplars", "metadata"] {
        let lost = ["failed", "dropped"].map(|fate| count(&metrics, &format!("{kind}_{fate}")));
        assert_eq!(lost, [0.0, 0.0], "{}: {kind}\n{}", variant.name, sender.child.output());
    }
}

/// Metadata of remote write 1.0: the target's and Prometheus's own, as Prometheus has them from its scrapes.
fn described_the_same(url: &str, sender: &Server) {
    let truth = get_json(&format!("{}/api/v1/metadata", sender.url), &[]).unwrap();
    let tenant = [("X-Scope-OrgID", VARIANTS[0].name)];
    let found = get_json_with(&format!("{url}/api/v1/metadata"), &[], &tenant).unwrap();
    let families = |answer: &Value| answer["data"].as_object().unwrap().clone();
    let (truth, found) = (families(&truth), families(&found));
    assert!(truth.len() > 100 && truth.contains_key("shop_latency_seconds"));
    for (family, described) in &truth {
        assert_eq!(found.get(family), Some(described), "{family}");
    }
    assert_eq!(found.len(), truth.len());
    println!("{} families are described alike", truth.len());
}
