//! The processes of the test: targets, senders, two Firns, and a third of several processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use system_tests::{
    Cluster, ClusterOptions, Firn, FirnOptions, ObjectStore, Storage, StoreKind, get, get_json, part,
};

use super::await_for;
use super::servers::{Server, host, serve, start_prometheus, sum};

pub(super) const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// The tenants of the senders.
pub(super) const TENANT_315: &str = "prometheus-3.15";
/// Debian's 2.42 leaves out the headers that it is configured to send, so it is who everyone is without one.
pub(super) const TENANT_242: &str = "anonymous";
const TENANT_VMAGENT: &str = "vmagent-1.150";
const TENANT_VMAGENT_OLD: &str = "vmagent-1.79";

const FEATURES: &[&str] = &["--enable-feature=exemplar-storage"];

/// Everything that runs.
pub(super) struct Fleet {
    /// Prometheus 3.15: the main sender, and the truth.
    pub(super) prometheus: Server,
    pub(super) debian_prometheus: Option<Server>,
    vmagents: Vec<(&'static str, Server)>,
    /// Flushed when the test says so, and then whole.
    pub(super) whole: Firn,
    /// Flushed half way.
    pub(super) half: Firn,
    /// A process per role and two ingesters, over a bucket.
    pub(super) apart: Cluster,
    _store: ObjectStore,
    _node_exporter: Server,
    _dirs: Vec<tempfile::TempDir>,
}

impl Fleet {
    /// `None` where Prometheus, node_exporter or MinIO is not installed.
    pub(super) fn start() -> Option<Fleet> {
        let prometheus = part("bin/prometheus")?;
        let node_exporter = part("bin/debian-node-exporter")?;
        let dirs: Vec<tempfile::TempDir> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let store = ObjectStore::start(StoreKind::Minio, dirs[3].path()).unwrap()?;
        let dir = dirs[2].path().to_path_buf();
        let whole = Firn::start(FIRN, dirs[0].path(), &FirnOptions::default()).unwrap();
        let half = Firn::start(FIRN, dirs[1].path(), &FirnOptions::default()).unwrap();
        let options = ClusterOptions::over(Storage::bucket(&store, "senders")).with_ingesters(2);
        let apart = Cluster::start(FIRN, &dirs[3].path().join("cluster"), &options).unwrap();

        let node = serve("node-exporter", &dir, |port| {
            let mut command = Command::new(&node_exporter);
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command
        });
        let scrapes =
            Scrapes { node: host(&node.url), firns: vec![whole.address().into(), half.address().into()] };
        let prometheus = start_prometheus("prometheus-3.15", &prometheus, &dir, FEATURES, |me| {
            scrapes.config_315(me, &[whole.url(), half.url(), &apart.push])
        });
        let debian_prometheus = part("bin/debian-prometheus").map(|binary| {
            start_prometheus("prometheus-2.42", &binary, &dir, FEATURES, |me| {
                scrapes.config_242(me, whole.url())
            })
        });
        let mut vmagents = Vec::new();
        for (tenant, binary) in [(TENANT_VMAGENT, "bin/vmagent"), (TENANT_VMAGENT_OLD, "bin/debian-vmagent")]
        {
            if let Some(binary) = part(binary) {
                vmagents.push((tenant, start_vmagent(tenant, &binary, &dir, &scrapes, whole.url())));
            }
        }
        Some(Fleet {
            prometheus,
            debian_prometheus,
            vmagents,
            whole,
            half,
            apart,
            _store: store,
            _node_exporter: node,
            _dirs: dirs,
        })
    }

    /// Tenants beside [`TENANT_315`].
    pub(super) fn other_tenants(&self) -> Vec<&'static str> {
        let debian = self.debian_prometheus.as_ref().map(|_| TENANT_242);
        debian.into_iter().chain(self.vmagents.iter().map(|(tenant, _)| *tenant)).collect()
    }

    /// Until each target was scraped twice and all Firns have it.
    pub(super) fn wait_for_all_targets(&mut self) {
        let alive = "count(count_over_time(up[1m]) > 1 and on (job, instance) up == 1)";
        let ask = |url: &str, headers: &[(&str, &str)]| {
            let answer =
                system_tests::get_json_with(&format!("{url}/api/v1/query"), &[("query", alive)], headers)
                    .ok()?;
            answer["data"]["result"][0]["value"][1].as_str()?.parse::<u32>().ok()
        };
        // node_exporter, Prometheus itself and two Firns.
        let url = self.prometheus.url.clone();
        await_for("Prometheus has scraped four targets", || (ask(&url, &[])? == 4).then_some(()));
        for url in [self.whole.url(), self.half.url(), &self.apart.query] {
            await_for("Firn has four targets of Prometheus 3.15", || {
                (ask(url, &[("X-Scope-OrgID", TENANT_315)])? == 4).then_some(())
            });
        }
        for tenant in self.other_tenants() {
            let url = self.whole.url();
            await_for(tenant, || (ask(url, &[("X-Scope-OrgID", tenant)])? >= 1).then_some(()));
        }
    }

    /// No sender had a sample refused or lost, and Firn met nothing it did not understand.
    pub(super) fn check_that_nothing_failed(&mut self) {
        let families = ["samples", "histograms", "exemplars", "metadata"];
        let prometheus = [Some(&self.prometheus), self.debian_prometheus.as_ref()];
        for server in prometheus.into_iter().flatten() {
            let metrics = get(&format!("{}/metrics", server.url), &[]).unwrap().body;
            for family in families {
                let sum =
                    |what: &str| sum(&metrics, &format!("prometheus_remote_storage_{family}_{what}_total"));
                assert_eq!((sum("failed"), sum("dropped")), (0.0, 0.0), "{}: {family}", server.url);
            }
            let sent = sum(&metrics, "prometheus_remote_storage_samples_total");
            println!("{}: {sent} samples sent, none failed or dropped", server.url);
            assert!(sent > 10_000.0);
        }
        let received = |kind: &str| {
            let metrics = get(&format!("{}/metrics", self.whole.url()), &[]).unwrap().body;
            sum(&metrics, &format!("firn_distributor_received_total{{kind=\"{kind}\"}}"))
        };
        let [floats, histograms, metadata] = ["float", "histogram", "metadata"].map(received);
        println!(
            "received: {floats} floats, {histograms} native histograms, {metadata} descriptions of metrics"
        );
        assert!(floats > 10_000.0 && histograms > 100.0 && metadata > 100.0);
        for (tenant, server) in &mut self.vmagents {
            let metrics = get(&format!("{}/metrics", server.url), &[]).unwrap().body;
            let dropped = sum(&metrics, "vmagent_remotewrite_packets_dropped_total");
            let packets = sum(&metrics, "vmagent_remotewrite_requests_total");
            assert_eq!(dropped, 0.0, "{tenant}");
            println!("{tenant}: {packets} requests, none dropped");
            assert!(server.child.is_running());
        }
        // The new vmagent speaks zstd and was never made to go back to snappy.
        if self.vmagents.iter().any(|(tenant, _)| *tenant == TENANT_VMAGENT) {
            let metrics = get(&format!("{}/metrics", self.whole.url()), &[]).unwrap().body;
            assert!(
                metrics.lines().any(|l| l.contains("zstd") && !l.starts_with('#') && !l.ends_with(" 0")),
                "no zstd"
            );
        }
        let targets = get_json(&format!("{}/api/v1/targets", self.prometheus.url), &[]).unwrap();
        for target in targets["data"]["activeTargets"].as_array().unwrap() {
            assert_eq!(target["health"], "up", "{}", target["lastError"]);
        }
    }
}

/// What is scraped.
struct Scrapes {
    node: String,
    firns: Vec<String>,
}

impl Scrapes {
    fn jobs(&self, me: &str, more: &str) -> String {
        let firns = self.firns.join("', '");
        format!(
            "scrape_configs:\n\
             - {{job_name: node, {more}static_configs: [{{targets: ['{}']}}]}}\n\
             - {{job_name: prometheus, {more}static_configs: [{{targets: ['{me}']}}]}}\n\
             - {{job_name: firn, {more}static_configs: [{{targets: ['{firns}']}}]}}\n",
            self.node
        )
    }

    fn config_315(&self, me: &str, urls: &[&str]) -> String {
        let mut config = "global:\n  scrape_interval: 1s\n  scrape_native_histograms: true\n  \
                          always_scrape_classic_histograms: true\nremote_write:\n"
            .to_string();
        for (i, url) in urls.iter().enumerate() {
            config.push_str(&format!(
                "- name: firn-{i}\n  url: {url}/api/v1/push\n  headers: {{X-Scope-OrgID: {TENANT_315}}}\n  \
                 send_exemplars: true\n  send_native_histograms: true\n  metadata_config: {{send: true, send_interval: 5s}}\n  \
                 queue_config: {{batch_send_deadline: 1s}}\n"
            ));
        }
        config + &self.jobs(me, "")
    }

    fn config_242(&self, me: &str, url: &str) -> String {
        format!(
            "global: {{scrape_interval: 2s}}\nremote_write:\n- url: {url}/api/v1/push\n  \
             queue_config: {{batch_send_deadline: 1s}}\n{}",
            self.jobs(me, "")
        )
    }

    fn config_vmagent(&self, me: &str) -> String {
        format!("global: {{scrape_interval: 2s}}\n{}", self.jobs(me, ""))
    }
}

fn start_vmagent(tenant: &str, binary: &PathBuf, dir: &Path, scrapes: &Scrapes, url: &str) -> Server {
    serve(tenant, dir, |port| {
        let file = dir.join(format!("{tenant}.yml"));
        fs::write(&file, scrapes.config_vmagent(&format!("127.0.0.1:{port}"))).unwrap();
        let mut command = Command::new(binary);
        command
            .arg(format!("-promscrape.config={}", file.display()))
            .arg(format!("-remoteWrite.url={url}/api/v1/push"))
            .arg(format!("-remoteWrite.headers=X-Scope-OrgID:{tenant}"))
            .arg(format!("-remoteWrite.tmpDataPath={}", dir.join(format!("{tenant}-queue")).display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        command
    })
}
