//! `/cardinality/*`: Mimir's form with Prometheus's numbers.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use system_tests::{get, get_json, post_form, seconds};

use super::Twins;

#[test]
fn cardinality_counts_what_prometheus_counts() {
    let Some(twins) = Twins::start() else { return };
    let theirs =
        get_json(&format!("{}/api/v1/status/tsdb", twins.prometheus.url()), &[("limit", "10000")]).unwrap();
    let theirs = &theirs["data"];
    for (form, firn) in twins.firns() {
        let ask = |path: &str, parameters: &[(&str, &str)]| {
            let url = format!("{}/prometheus/api/v1/cardinality/{path}", firn.query);
            let answer = get_json(&url, parameters).unwrap();
            assert_eq!(post_form(&url, parameters).unwrap().json(), answer, "by either method");
            answer
        };
        let names = ask("label_names", &[("limit", "500")]);
        let counted = figures(&names["cardinality"], "label_name", "label_values_count");
        assert_eq!(counted, figures(&theirs["labelValueCountByLabelName"], "name", "value"), "{form}");
        assert_eq!(names["label_values_count_total"], theirs["headStats"]["numLabelPairs"], "{form}");
        assert_eq!(names["label_names_count"], counted.len(), "{form}");
        let asked = [("label_names[]", "job"), ("label_names[]", "instance"), ("label_names[]", "none")];
        let values = ask("label_values", &[&asked[..], &[("limit", "500")]].concat());
        assert_eq!(values["series_count_total"], twins.data.n_series(), "{form}");
        let pairs = figures(&theirs["seriesCountByLabelValuePair"], "name", "value");
        let mut n_values = 0;
        for label in values["labels"].as_array().unwrap() {
            let name = label["label_name"].as_str().unwrap();
            for (value, n_series) in figures(&label["cardinality"], "label_value", "series_count") {
                assert_eq!(pairs[&format!("{name}={value}")], n_series, "{form} {name}={value}");
                n_values += 1;
            }
            assert_eq!(label["label_values_count"], label["cardinality"].as_array().unwrap().len());
        }
        assert!(n_values > 10 && values["labels"].as_array().unwrap().len() == 2, "{form}: {values}");
        compare_selected(&twins, form, &firn.query);
    }
}

/// Counts of the series of a selector, and of those that are active.
fn compare_selected(twins: &Twins, form: &str, firn: &str) {
    let at = seconds(twins.data.newest_ms);
    let selector = "{job=~\"job-[1-3]\"}";
    let query = format!("count by (job) (last_over_time({selector}[1h]))");
    let url = format!("{}/api/v1/query", twins.prometheus.url());
    let theirs = get_json(&url, &[("query", &query), ("time", &at)]).unwrap();
    let theirs: BTreeMap<String, u64> = theirs["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["metric"]["job"]), text(&one["value"][1]).parse().unwrap()))
        .collect();
    for count_method in ["inmemory", "active"] {
        let parameters = [("selector", selector), ("label_names[]", "job"), ("count_method", count_method)];
        let ours = get_json(&format!("{firn}/api/v1/cardinality/label_values"), &parameters).unwrap();
        let label = &ours["labels"][0];
        assert_eq!(figures(&label["cardinality"], "label_value", "series_count"), theirs, "{form}");
        assert_eq!(label["series_count"], theirs.values().sum::<u64>(), "{form}");
    }
    let ours = get_json(&format!("{firn}/api/v1/cardinality/active_series"), &[("selector", selector)]);
    let ours = ours.unwrap()["data"].as_array().unwrap().len() as u64;
    assert_eq!(ours, theirs.values().sum::<u64>(), "{form}");
    let url = format!("{firn}/api/v1/cardinality/active_native_histogram_metrics");
    let histograms = get_json(&url, &[("selector", "{job!=\"\"}")]).unwrap();
    let wanted = json!([{"metric": "latency", "series_count": 2, "bucket_count": 7, "avg_bucket_count": 3.5,
        "min_bucket_count": 3, "max_bucket_count": 4}]);
    assert_eq!(histograms["data"], wanted, "{form}");
    let refused = get(&format!("{firn}/api/v1/cardinality/active_series"), &[]).unwrap();
    assert_eq!((refused.status, refused.body.as_str()), (400, "missing 'selector' parameter\n"), "{form}");
}

fn figures(list: &Value, name: &str, value: &str) -> BTreeMap<String, u64> {
    list.as_array().unwrap().iter().map(|item| (text(&item[name]), item[value].as_u64().unwrap())).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}
