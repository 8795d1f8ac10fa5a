//! Roles as processes, as an operator meets them.

use std::process::Command;
use std::time::{Duration, Instant};

use system_tests::{
    Cluster, ClusterOptions, FaultProxy, ObjectStore, ProxyFault, ProxyTarget, Storage, StoreKind,
    TimeSeries, WriteRequest, free_ports, get, get_with, now_ms, post, seconds, wait_until,
};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

fn start(dir: &std::path::Path, flags: &[&str]) -> Cluster {
    let options =
        ClusterOptions::over(Storage::Folder(dir.join("tables"))).with_ingesters(2).with_flags(flags);
    Cluster::start(FIRN, &dir.join("cluster"), &options).unwrap()
}

fn status(url: &str) -> u16 {
    get(url, &[]).map_or(0, |answer| answer.status)
}

fn request(i: i64, base: i64) -> WriteRequest {
    let mut request = WriteRequest::default();
    for job in 0..8 {
        request.push(&TimeSeries::named("role", &format!("j{job}")).sample(base + i * 1000, i as f64));
    }
    request
}

#[test]
fn each_role_shows_what_it_is_and_answers_for_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = start(dir.path(), &[]);
    for name in cluster.names() {
        let url = cluster.url(&name).unwrap();
        let services = get(&format!("{url}/services"), &[]).unwrap().body;
        let role = name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        assert!(services.contains(&format!("{role} => Running")), "{name}: {services}");
        let has_ring = role != "query-frontend";
        assert_eq!(status(&format!("{url}/ring")) == 200, has_ring, "{name}");
        assert_eq!(status(&format!("{url}/api/v1/labels")) == 200, role == "query-frontend", "{name}");
        let pushed = post(&format!("{url}/api/v1/import/prometheus"), &[], b"x 1\n").unwrap().status;
        assert_eq!(pushed == 204, role == "distributor", "{name} answered a push with {pushed}");
        let health = |path: &str| {
            let url = format!("-health.url={url}{path}");
            Command::new(FIRN).args(["-health", &url]).output().unwrap().status.success()
        };
        assert!(health("/ready") && !health("/nothing"), "{name}");
    }
    let ring = format!("{}/ring", cluster.push);
    let json = get_with(&ring, &[], &[("Accept", "application/json")]).unwrap().json();
    assert_eq!((json["members"].as_array().unwrap().len(), &json["shards"]), (2, &64.into()));
    // Nobody to ask: the query-frontend is not where queries should be sent.
    cluster.kill("querier").unwrap();
    let ready = format!("{}/ready", cluster.query);
    let unready = wait_until(Duration::from_secs(10), || {
        let answer = get(&ready, &[]).ok()?;
        (answer.status == 503).then_some(answer.body)
    });
    assert_eq!(unready.as_deref(), Some("no querier is connected\n"));
    cluster.restart("querier").unwrap();
    let again = wait_until(Duration::from_secs(10), || (status(&ready) == 200).then_some(()));
    assert!(again.is_some(), "a querier came back and the query-frontend has none");
}

#[test]
fn an_ingester_that_is_told_to_leave_hands_over_by_flushing() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = start(dir.path(), &[]);
    let base = now_ms() - 600_000;
    for i in 0..10 {
        assert_eq!(cluster.push(&request(i, base)).unwrap().status, 204);
    }
    for name in ["ingester-0", "ingester-1"] {
        let url = cluster.url(name).unwrap();
        assert_eq!(post(&format!("{url}/ingester/shutdown"), &[], &[]).unwrap().status, 204);
        assert_eq!(status(&format!("{url}/ready")), 503);
    }
    let refused = cluster.push(&request(10, base)).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
    let count =
        |cluster: &Cluster| cluster.number("sum(count_over_time(role[1h]))", &seconds(base + 600_000));
    assert_eq!(count(&cluster), Ok(80.0), "it goes on answering");
    // Everything is in the tables: a log that is thrown away now is not missed.
    for name in ["ingester-0", "ingester-1"] {
        assert!(cluster.child(name).unwrap().terminate().is_some_and(|status| status.success()));
        std::fs::remove_dir_all(dir.path().join(format!("cluster/{name}-wal"))).unwrap();
        cluster.restart(name).unwrap();
    }
    assert_eq!(count(&cluster), Ok(80.0));
    assert_eq!(cluster.push(&request(10, base)).unwrap().status, 204);
    assert_eq!(count(&cluster), Ok(88.0));
}

#[test]
fn open_telemetry_is_taken_on_ports_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports(2);
    let [grpc, http] = [ports[0], ports[1]].map(|port| format!("127.0.0.1:{port}"));
    let flags = [
        format!("-distributor.otlp-grpc-listen-address={grpc}"),
        format!("-distributor.otlp-http-listen-address={http}"),
    ];
    let firn = system_tests::Firn::start(
        FIRN,
        dir.path(),
        &system_tests::FirnOptions { flags: flags.to_vec(), env: Vec::new() },
    )
    .unwrap();
    let at = now_ms();
    let metric = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
        "name": "ports", "gauge": {"dataPoints": [{"timeUnixNano": format!("{at}000000"), "asDouble": 4.5}]}
    }]}]}]});
    for (i, address) in [&grpc, &http].into_iter().enumerate() {
        let body = metric.to_string().replace("ports", &format!("ports_{i}"));
        let headers = [("Content-Type", "application/json")];
        let answer = post(&format!("http://{address}/v1/metrics"), &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(firn.number(&format!("ports_{i}"), &seconds(at + 1)), Ok(4.5));
        assert_eq!(status(&format!("http://{address}/api/v1/labels")), 404, "OpenTelemetry's and no other");
    }
}

#[test]
fn an_ingester_that_stops_while_the_store_is_away_keeps_its_log_and_ends_in_time_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = ObjectStore::start(StoreKind::Minio, dir.path()).unwrap() else { return };
    let proxy = FaultProxy::start(&store.endpoint()).unwrap();
    let storage = Storage::Bucket { endpoint: proxy.endpoint(), prefix: "stop".to_string() };
    let options = ClusterOptions::over(storage).with_flags(&["-server.graceful-shutdown-timeout=5s"]);
    let mut cluster = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    let base = now_ms() - 600_000;
    let count =
        |cluster: &Cluster| cluster.number("sum(count_over_time(role[1h]))", &seconds(base + 600_000));
    let aways = [ProxyFault::Refuse, ProxyFault::Delay(Duration::from_secs(120)), ProxyFault::Status(503)];
    for (i, away) in (0..).zip(aways) {
        assert_eq!(cluster.push(&request(i, base)).unwrap().status, 204);
        proxy.fail(ProxyTarget::All, away);
        let told = Instant::now();
        let ended = cluster.child("ingester-0").unwrap().terminate();
        let (took, output) = (told.elapsed(), cluster.child("ingester-0").unwrap().output());
        assert!(ended.is_some_and(|status| status.success()), "{away:?}: {ended:?}\n{output}");
        assert!(took < Duration::from_secs(7), "{away:?}: it took {took:?}");
        assert!(output.contains("the rest is on the log"), "{away:?}: {output}");
        proxy.heal();
        cluster.restart("ingester-0").unwrap();
        assert_eq!(count(&cluster), Ok(8.0 * (i + 1) as f64), "{away:?}");
    }
    cluster.flush_all().unwrap();
    assert_eq!(count(&cluster), Ok(24.0), "in the table");
}
