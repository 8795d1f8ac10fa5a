//! Who Firn is to a bucket: a key of the environment, or a token that a cluster gives to its pods.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use system_tests::{
    ACCESS_KEY, Child, Firn, FirnOptions, ObjectStore, REGION, SECRET_KEY, StoreKind, free_port, now_ms,
    part, seconds, wait_until,
};

use super::table::{replayed, samples};
use super::{FIRN, over, store};

const TOKEN: &str = "a-token-of-the-cluster";

/// Firn over the store without a key in its configuration.
fn keyless(store: &ObjectStore) -> FirnOptions {
    let mut options = super::options(&over(&store.endpoint(), "keyless"), &["-bucket.request-timeout=10s"]);
    options.flags.retain(|flag| !flag.contains("access-key"));
    // The test's own environment must not decide.
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
        .iter()
        .fold(options, |options, name| options.with_env(name, ""))
}

/// What is pushed lies in the bucket.
fn works(dir: &Path, store: &ObjectStore, options: &FirnOptions) {
    let firn = Firn::start(FIRN, dir, options).unwrap();
    let now = now_ms();
    assert_eq!(firn.import(&format!("mine 1 {now}\n")).unwrap().status, 204);
    firn.flush_all().unwrap();
    assert_eq!(firn.number("mine", &seconds(now)).unwrap(), 1.0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(samples(&runtime.block_on(replayed(&over(&store.endpoint(), "keyless")))), 1);
}

#[test]
fn the_environment_says_where_the_store_is_and_with_which_key() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(StoreKind::Minio, dir.path()) else { return };
    let mut options = keyless(&store);
    options.flags.retain(|flag| !flag.contains("endpoint") && !flag.contains("region"));
    let options = options
        .with_env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .with_env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .with_env("AWS_REGION", REGION)
        .with_env("AWS_ENDPOINT_URL_S3", &store.endpoint())
        // Whoever could turn these off would lose data without a word.
        .with_env("AWS_CONDITIONAL_PUT", "disabled");
    works(dir.path(), &store, &options);
}

#[test]
fn a_web_identity_is_exchanged_for_a_key_that_expires() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(StoreKind::Minio, dir.path()) else { return };
    let Some(mut sts) = token_service(dir.path(), &store) else { return };
    let token = dir.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let identity = |token: &Path| {
        let mut options = keyless(&store);
        options.flags.push(format!("-storage.s3.ca-file={}", dir.path().join("ca.pem").display()));
        options
            .with_env("AWS_WEB_IDENTITY_TOKEN_FILE", &token.display().to_string())
            .with_env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/firn")
            .with_env("AWS_ENDPOINT_URL_STS", &sts.1)
    };
    works(dir.path(), &store, &identity(&token));
    let log = sts.0.output();
    assert!(log.contains("gave a key to arn:aws:iam::123456789012:role/firn"), "{log}");

    fs::write(&token, "a token of nobody").unwrap();
    let mut stranger = identity(&token);
    stranger.flags.push("-bucket.request-timeout=3s".to_string());
    stranger.flags.retain(|flag| flag != "-bucket.request-timeout=10s");
    let refused = Firn::start(FIRN, dir.path(), &stranger).unwrap_err();
    assert!(refused.contains("s3://firn-test/keyless"), "{refused}");
    assert!(sts.0.is_running() && sts.0.output().contains("refused a token"), "{refused}");
}

/// A token service over TLS that gives keys of the store; `None` without Python or OpenSSL.
fn token_service(dir: &Path, store: &ObjectStore) -> Option<(Child, String)> {
    let python = part("duckdb2/bin/python")?;
    certificates(dir)?;
    let port = free_port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/s3/token_service.py");
    let mut command = Command::new(python);
    command.arg(script).arg(port.to_string()).args(["leaf.pem", "leaf.key"]).arg(store.endpoint());
    command.args([ACCESS_KEY, SECRET_KEY, REGION, TOKEN]).current_dir(dir);
    let child = Child::start("sts", command, dir).unwrap();
    let serves = wait_until(Duration::from_secs(20), || child.output().contains("serving").then_some(()));
    assert!(serves.is_some(), "{}", child.output());
    Some((child, format!("https://localhost:{port}")))
}

/// An authority and a certificate of it for localhost.
fn certificates(dir: &Path) -> Option<()> {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let openssl = |args: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509"]).args(key).args(args).current_dir(dir);
        command.output().ok()
    };
    let authority = ["-subj", "/CN=firn test", "-keyout", "ca.key", "-out", "ca.pem"];
    let leaf = [
        ["-CA", "ca.pem"],
        ["-CAkey", "ca.key"],
        ["-subj", "/CN=localhost"],
        ["-keyout", "leaf.key"],
        ["-out", "leaf.pem"],
        ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        ["-addext", "basicConstraints=critical,CA:FALSE"],
    ];
    for made in [openssl(&authority)?, openssl(leaf.as_flattened())?] {
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    Some(())
}
