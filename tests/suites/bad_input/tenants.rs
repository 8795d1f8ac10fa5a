//! Limits that change while Firn runs, and queries over several tenants.

use std::time::{Duration, Instant};

use system_tests::{Answer, Firn, get, get_with, now_ms, seconds};

use super::{expect, one, start};

fn shown(firn: &Firn, query: &[(&str, &str)]) -> String {
    let answer = get(&format!("{}/runtime_config", firn.url()), query).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Asks until `/runtime_config` shows `part`.
fn wait_for(firn: &Firn, part: &str) {
    let begin = Instant::now();
    while !shown(firn, &[("mode", "diff")]).contains(part) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{part} is not in\n{}", shown(firn, &[]));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn overrides_are_reloaded_and_a_bad_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("overrides.yaml");
    std::fs::write(&file, "overrides: {a: {max_label_value_length: 3}}\n").unwrap();
    let path = format!("-limits.overrides-file={}", file.display());
    let (_dir, firn) = start(&[path.as_str(), "-limits.overrides-period=1s"]);
    let push = |tenant: &str| firn.push_as(tenant, &one("up", 1.0)).unwrap();
    // The value of `__name__` and `job` have up to three bytes.
    expect("within", &push("a"), 204, &[]);
    std::fs::write(&file, "overrides: {a: {max_label_value_length: 2}}\n").unwrap();
    wait_for(&firn, "max_label_value_length: 2");
    expect("above", &push("a"), 400, &["max_label_value_length is 2"]);
    expect("another tenant", &push("b"), 204, &[]);
    std::fs::write(&file, "overrides: {a: {max_label_value_lenght: 100}}\n").unwrap();
    wait_for(&firn, "is not in force");
    assert!(shown(&firn, &[]).contains("max_label_value_lenght"), "{}", shown(&firn, &[]));
    expect("as before", &push("a"), 400, &["max_label_value_length is 2"]);
    let metrics = get(&format!("{}/metrics", firn.url()), &[]).unwrap().body;
    assert!(metrics.contains("firn_limits_last_reload_successful 0"), "{metrics}");
    std::fs::write(&file, "overrides: {}\n").unwrap();
    wait_for(&firn, "in force since");
    let begin = Instant::now();
    while push("a").status != 204 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", shown(&firn, &[]));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn several_tenants_are_read_together_when_that_is_switched_on() {
    let ask = |firn: &Firn, tenants: &str, query: &str| -> Answer {
        let now = seconds(now_ms());
        let url = format!("{}/api/v1/query", firn.url());
        get_with(&url, &[("query", query), ("time", now.as_str())], &[("X-Scope-OrgID", tenants)]).unwrap()
    };
    let (_dir, off) = start(&["-multitenancy-enabled=true"]);
    expect("switched off", &ask(&off, "a|b", "up"), 400, &["querier.tenant_federation.enabled"]);

    let (_dir, firn) = start(&["-multitenancy-enabled=true", "-querier.tenant-federation.enabled=true"]);
    for (tenant, value) in [("a", 1.0), ("b", 2.0), ("c", 4.0)] {
        assert_eq!(firn.push_as(tenant, &one("up", value)).unwrap().status, 204);
    }
    firn.flush_all().unwrap();
    assert_eq!(firn.push_as("b", &one("up", 2.0)).unwrap().status, 204);
    let sum = |tenants: &str, query: &str| {
        let answer = ask(&firn, tenants, query);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["data"]["result"][0]["value"][1].as_str().unwrap_or("nothing").to_string()
    };
    assert_eq!(sum("a|b", "sum(up)"), "3");
    assert_eq!(sum("b|a|c", "sum(up{__tenant_id__!=\"a\"})"), "6");
    assert_eq!(sum("a|b|c", "count(count by (__tenant_id__) (up))"), "3");
    assert_eq!(sum("a", "count(up{__tenant_id__=\"\"})"), "1", "one tenant's series are as they are");
    let values = get_with(
        &format!("{}/api/v1/label/__tenant_id__/values", firn.url()),
        &[],
        &[("X-Scope-OrgID", "a|c|nobody")],
    );
    assert_eq!(values.unwrap().json()["data"], serde_json::json!(["a", "c"]));
    expect("a write", &firn.push_as("a|b", &one("up", 1.0)).unwrap(), 400, &["X-Scope-OrgID"]);
}
