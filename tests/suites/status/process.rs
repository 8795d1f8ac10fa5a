//! Flags, configuration, runtime, features.

use std::collections::BTreeSet;

use serde_json::Value;
use system_tests::get;

use super::Twins;

#[test]
fn what_a_process_says_about_itself_has_prometheuss_shape() {
    let Some(twins) = Twins::start() else { return };
    for (form, firn) in twins.firns() {
        let ask = |path: &str| {
            let [theirs, ours] = [twins.prometheus.url(), &firn.query].map(|url| {
                let answer = get(&format!("{url}/api/v1/{path}"), &[]).unwrap();
                assert_eq!(answer.status, 200, "{form} {path}: {}", answer.body);
                answer.json()
            });
            (theirs["data"].clone(), ours["data"].clone())
        };
        for path in ["status/runtimeinfo", "status/walreplay", "status/config"] {
            let (theirs, ours) = ask(path);
            assert_eq!(shape(&theirs), shape(&ours), "{form} {path}");
        }
        let (theirs, ours) = ask("status/buildinfo");
        for key in theirs.as_object().unwrap().keys() {
            assert_eq!(shape(&theirs[key]), shape(&ours[key]), "{form} buildinfo {key}");
        }
        let (theirs, ours) = ask("status/flags");
        for flags in [theirs, ours] {
            let flags = flags.as_object().unwrap().clone();
            assert!(flags.len() > 30 && flags.values().all(Value::is_string), "{form}");
        }
        let (_, config) = ask("status/config");
        assert!(config["yaml"].as_str().unwrap().contains("http_listen_port"), "{form}");
        compare_features(form, ask("features"));
    }
}

/// Keys, and the kinds of values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::String(_) => "text".into(),
        Value::Number(_) => 0.into(),
        Value::Bool(_) => true.into(),
        other => other.clone(),
    }
}

/// Categories of which Firn has nothing.
const ABSENT: [&str; 3] = ["service_discovery_providers", "templating_functions", "ui"];
/// Names that are about how Prometheus is built.
const OF_THEIR_OWN: [&str; 2] = ["slicelabels", "stringlabels"];

fn compare_features(form: &str, (theirs, ours): (Value, Value)) {
    let categories = |value: &Value| -> BTreeSet<String> {
        let categories = value.as_object().unwrap().keys().cloned();
        categories.filter(|category| !ABSENT.contains(&category.as_str())).collect()
    };
    assert_eq!(categories(&ours), categories(&theirs), "{form}");
    for category in categories(&ours) {
        let names = |value: &Value| -> BTreeSet<String> {
            let names = value[&category].as_object().unwrap().keys().cloned();
            names.filter(|name| !OF_THEIR_OWN.contains(&name.as_str())).collect()
        };
        assert_eq!(names(&ours), names(&theirs), "{form} {category}");
        if category.starts_with("promql") {
            let different = |name: &&String| theirs[&category][*name] != ours[&category][*name];
            let different: Vec<String> = names(&ours).iter().filter(different).cloned().collect();
            assert!(different.is_empty(), "{form} {category}: {different:?}");
        }
    }
}
