//! One Firn over a real bucket: what is pushed is in the bucket, and whoever may read it reads it.

use std::process::Command;

use system_tests::{
    FaultProxy, Firn, FirnOptions, ProxyFault, ProxyTarget, Started, StoreKind, get, now_ms, part, seconds,
};

use super::table::{replayed, samples};
use super::{FIRN, options, over, store};

const SERIES: usize = 50;

#[test]
fn what_is_pushed_is_in_the_bucket_and_outlives_the_log_on_minio() {
    end_to_end(StoreKind::Minio);
}

#[test]
fn what_is_pushed_is_in_the_bucket_and_outlives_the_log_on_seaweedfs() {
    end_to_end(StoreKind::SeaweedFs);
}

fn end_to_end(kind: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(kind, dir.path()) else { return };
    let storage = over(&store.endpoint(), "deep/prefix");
    let now = now_ms();
    let lines: String = (0..SERIES).map(|n| format!("in_bucket{{n=\"{n}\"}} {n} {now}\n")).collect();
    {
        let folder = dir.path().join("first");
        std::fs::create_dir(&folder).unwrap();
        let mut firn =
            Firn::start(FIRN, &folder, &options(&storage, &["-bucket.checkpoint-interval=2"])).unwrap();
        for round in 0..3 {
            let lines = lines.replace(&now.to_string(), &(now + round).to_string());
            assert_eq!(firn.import(&lines).unwrap().status, 204);
            firn.flush_all().unwrap();
        }
        let shown = get(&format!("{}/config", firn.url()), &[]).unwrap().body;
        assert!(shown.contains("deep/prefix") && shown.contains("<hidden>"), "{shown}");
        assert!(!shown.contains(system_tests::SECRET_KEY), "the secret is shown:\n{shown}");
        assert!(firn.child().terminate().is_some_and(|status| status.success()));
        let output = firn.child().output();
        assert!(!output.contains(system_tests::SECRET_KEY), "the secret is logged:\n{output}");
    }
    // Another log, another machine as it were: all that it can answer is in the bucket.
    let folder = dir.path().join("second");
    std::fs::create_dir(&folder).unwrap();
    let firn = Firn::start(FIRN, &folder, &options(&storage, &[])).unwrap();
    let sum = firn.number("sum(in_bucket)", &seconds(now + 2)).unwrap();
    assert_eq!(sum, (0..SERIES).sum::<usize>() as f64);
    assert_eq!(firn.number("sum(count_over_time(in_bucket[1h]))", &seconds(now + 2)).unwrap(), 150.0);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(samples(&runtime.block_on(replayed(&storage))), 150);
    read_by_deltalake(&store.endpoint());
}

/// Python's deltalake reads the table where it lies.
fn read_by_deltalake(endpoint: &str) {
    let Some(python) = part("duckdb2/bin/python") else { return };
    let script = "import sys, pyarrow\nfrom deltalake import DeltaTable\n\
        t = DeltaTable(sys.argv[1], storage_options=dict(a.split('=', 1) for a in sys.argv[2:]))\n\
        print(t.version(), sum(f['num_records'] for f in pyarrow.table(t.get_add_actions(flatten=True)).to_pylist()))";
    let output = Command::new(python)
        .args(["-c", script, &format!("s3://{}/deep/prefix/anonymous/metrics", system_tests::BUCKET)])
        .arg(format!("AWS_ENDPOINT_URL={endpoint}"))
        .arg(format!("AWS_ACCESS_KEY_ID={}", system_tests::ACCESS_KEY))
        .arg(format!("AWS_SECRET_ACCESS_KEY={}", system_tests::SECRET_KEY))
        .args(["AWS_REGION=us-east-1", "AWS_ALLOW_HTTP=true"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let version: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(version[0], "3", "three commits after the creation: {text}");
    assert!(version[1].parse::<u64>().unwrap() >= 3 * SERIES as u64, "{text}");
}

#[test]
fn a_bucket_that_cannot_hold_tables_is_refused_by_name_before_anything_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(StoreKind::Minio, dir.path()) else { return };
    let quick = "-bucket.request-timeout=3s";
    let check = |what: &str, options: FirnOptions, parts: &[&str]| {
        let folder = dir.path().join(what);
        std::fs::create_dir(&folder).unwrap();
        match Firn::start_or_die(FIRN, &folder, &options).unwrap() {
            Started::Ready(_) => panic!("{what}: it is ready"),
            Started::Died { signal, output } => {
                assert_eq!(signal, None, "{what}: {output}");
                for part in parts.iter().chain(&["s3://"]) {
                    assert!(output.contains(part), "{what}: {part} is missing in\n{output}");
                }
            }
        }
    };
    let storage = over(&store.endpoint(), "x");
    let mut stranger = options(&storage, &[quick]);
    stranger.flags.retain(|flag| !flag.contains("secret-access-key"));
    stranger.flags.push("-storage.s3.secret-access-key=wrong".to_string());
    check("wrong-secret", stranger, &["put if absent", "SignatureDoesNotMatch", &store.endpoint()]);

    let mut nowhere = options(&storage, &[quick]);
    nowhere.flags.retain(|flag| !flag.starts_with("-storage.url"));
    nowhere.flags.push("-storage.url=s3://no-such-bucket/x".to_string());
    check("no-bucket", nowhere, &["s3://no-such-bucket/x", "NoSuchBucket"]);

    let proxy = FaultProxy::start(&store.endpoint()).unwrap();
    proxy.fail(ProxyTarget::Of("PUT", ""), ProxyFault::Pretend);
    check(
        "ignores-conditions",
        options(&over(&proxy.endpoint(), "x"), &[quick]),
        &["a conditional put overwrote an object", "s3://firn-test/x"],
    );

    let away = format!("http://127.0.0.1:{}", system_tests::free_port());
    check("away", options(&over(&away, "x"), &[quick]), &["put if absent", &away]);
}
