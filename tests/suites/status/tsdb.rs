//! `/status/tsdb`.

use std::collections::BTreeSet;

use serde_json::Value;
use system_tests::{get, get_json};

use super::Twins;

const LISTS: [&str; 4] = [
    "seriesCountByMetricName",
    "labelValueCountByLabelName",
    "memoryInBytesByLabelName",
    "seriesCountByLabelValuePair",
];

#[test]
fn the_figures_of_the_heads_are_those_of_prometheus() {
    let Some(twins) = Twins::start() else { return };
    let n_series = twins.data.n_series();
    for (form, firn) in twins.firns() {
        let (theirs, ours) = both(&twins, &firn.query, "10000");
        assert_eq!(theirs["headStats"]["numSeries"], n_series, "what was sent is there");
        for key in ["numSeries", "numLabelPairs", "minTime", "maxTime"] {
            assert_eq!(ours["headStats"][key], theirs["headStats"][key], "{form} {key}");
        }
        assert!(ours["headStats"]["chunkCount"].as_u64().unwrap() >= n_series as u64, "{form}");
        let mut n_items = 0;
        for list in LISTS {
            assert_eq!(items(&ours[list]), items(&theirs[list]), "{form} {list}");
            n_items += items(&ours[list]).len();
        }
        // Which of equal ones are shown is up to chance there.
        let (theirs, ours) = both(&twins, &firn.query, "7");
        for list in LISTS {
            assert_eq!(values(&ours[list]), values(&theirs[list]), "{form} {list}");
        }
        for limit in ["0", "-1", "x", "10001", "1.5", "+3", ""] {
            let [theirs, ours] = [twins.prometheus.url(), &firn.query]
                .map(|url| get(&format!("{url}/api/v1/status/tsdb"), &[("limit", limit)]).unwrap());
            assert_eq!(ours.status, theirs.status, "{form} {limit:?}");
            assert!(ours.status == 200 || ours.json() == theirs.json(), "{form} {limit:?}: {}", ours.body);
        }
        println!("status: {form} tells {n_items} figures of {n_series} series as Prometheus does");
    }
}

fn both(twins: &Twins, firn: &str, limit: &str) -> (Value, Value) {
    let [theirs, ours] = [twins.prometheus.url(), firn]
        .map(|url| get_json(&format!("{url}/api/v1/status/tsdb"), &[("limit", limit)]).unwrap());
    (theirs["data"].clone(), ours["data"].clone())
}

/// The items of a list, whatever their order.
fn items(list: &Value) -> BTreeSet<(String, u64)> {
    let item = |item: &Value| Some((item["name"].as_str()?.to_string(), item["value"].as_u64()?));
    list.as_array().unwrap().iter().map(|one| item(one).unwrap()).collect()
}

fn values(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|item| item["value"].as_u64().unwrap()).collect()
}
