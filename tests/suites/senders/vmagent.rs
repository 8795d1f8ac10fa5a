//! vmagent 1.150 writes in both of its dialects, and the same blocks to Prometheus 3.15, whose word counts.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use system_tests::{FirnOptions, get, now_ms, part};

use super::sameness::{Mortal, Pair, Window, folder};
use super::servers::{serve, start_prometheus, sum};
use super::target::Target;

const SCRAPED: Duration = Duration::from_secs(15);
const SETTLED: Duration = Duration::from_secs(5);

#[test]
fn vmagent_writes_in_both_dialects_and_firn_holds_what_prometheus_receives() {
    let (Some(binary), Some(prometheus)) = (part("bin/vmagent"), part("bin/prometheus")) else { return };
    let mut mortal = Mortal::start(FirnOptions::default());
    let target = Target::start();
    let dir = folder(&mortal, "senders");
    let reference =
        start_prometheus("reference", &prometheus, &dir, &["--web.enable-remote-write-receiver"], |_| {
            "global: {}\nstorage: {tsdb: {out_of_order_time_window: 10m}}\n".to_string()
        });
    let begun = now_ms();
    let url = mortal.firn().url().to_string();
    let mut agent = serve("vmagent", &dir, |port| {
        let config = dir.join("vmagent.yml");
        let jobs = format!(
            "global: {{scrape_interval: 1s, external_labels: {{zone: a, area: b}}}}\nscrape_configs:\n\
             - {{job_name: shop, static_configs: [{{targets: ['{}']}}]}}\n\
             - {{job_name: vmagent, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n",
            target.address
        );
        fs::write(&config, jobs).unwrap();
        let mut command = Command::new(&binary);
        command
            .arg(format!("-promscrape.config={}", config.display()))
            .arg(format!("-remoteWrite.tmpDataPath={}", dir.join("queue").display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .args([
                format!("-remoteWrite.url={url}/api/v1/push"),
                "-remoteWrite.headers=X-Scope-OrgID:zstd".into(),
            ])
            .args([
                format!("-remoteWrite.url={url}/api/v1/push"),
                "-remoteWrite.headers=X-Scope-OrgID:snappy".into(),
            ])
            .args([
                format!("-remoteWrite.url={}/api/v1/write", reference.url),
                "-remoteWrite.headers=X-To:prometheus".into(),
            ])
            .arg("-remoteWrite.forcePromProto=false,true,true");
        command
    });
    thread::sleep(SCRAPED);
    let window = Window { from: begun, to: now_ms() };
    thread::sleep(SETTLED);

    let metrics = agent.metrics();
    let count = |what: &str| sum(&metrics, &format!("vmagent_remotewrite_{what}_total"));
    println!("vmagent: {} requests, {} retries", count("requests"), count("retries_count"));
    assert!(count("requests") > 30.0 && agent.child.is_running());
    assert_eq!((count("packets_dropped"), count("retries_count")), (0.0, 0.0), "{}", agent.child.output());
    let received = get(&format!("{url}/metrics"), &[]).unwrap().body;
    let requests = |protocol: &str| {
        sum(&received, &format!("firn_distributor_requests_total{{protocol=\"{protocol}\"}}"))
    };
    assert!(requests("remote_write_1_zstd") > 10.0 && requests("remote_write_1") > 10.0, "{received}");

    agent.child.terminate();
    let pair = |what, tenant: &str| Pair {
        what,
        prometheus: reference.url.clone(),
        tenant: tenant.to_string(),
        exemplars: false,
    };
    let pairs = [pair("vmagent, zstd", "zstd"), pair("vmagent, snappy", "snappy")];
    mortal.check_through_its_life(&pairs, window);
}
