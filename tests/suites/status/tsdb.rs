//! `/status/tsdb`.

use std::collections::BTreeSet;

use serde_json::Value;
use system_tests::{TimeSeries, WriteRequest, get, get_json, now_ms, part};

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

#[test]
fn blocks_are_the_files_of_the_table_and_have_the_times_of_the_samples() {
    let Some(twins) = Twins::start() else { return };
    for (form, firn) in twins.firns() {
        let blocks = || {
            let answer = get_json(&format!("{}/api/v1/status/tsdb/blocks", firn.query), &[]).unwrap();
            answer["data"]["blocks"].as_array().unwrap().clone()
        };
        assert!(blocks().is_empty(), "{form}: nothing has been flushed");
        firn.flush_all().unwrap();
        // Without waiting: the head says which version of the table it has written.
        let blocks = blocks();
        let (theirs, _) = both(&twins, &firn.query, "10");
        let times =
            |key: &str| -> Vec<i64> { blocks.iter().map(|block| block[key].as_i64().unwrap()).collect() };
        assert_eq!(times("minTime").into_iter().min(), theirs["headStats"]["minTime"].as_i64(), "{form}");
        let newest = theirs["headStats"]["maxTime"].as_i64().map(|newest| newest + 1);
        assert_eq!(times("maxTime").into_iter().max(), newest, "{form}: which a block leaves out");
        for block in &blocks {
            assert!(block["stats"]["numBytes"].as_u64().is_some_and(|n| n > 1000), "{form}: {block}");
            assert_eq!(block["compaction"]["sources"][0], block["ulid"], "{form}");
            assert_eq!(block["compaction"]["level"], 1, "{form}: nothing has been merged");
        }
    }
}

#[test]
fn lists_over_several_ingesters_are_exact_where_each_has_more_values_than_it_tells_at_first() {
    let Some(binary) = part("bin/prometheus") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (prometheus, cluster) = (super::start(&binary, dir.path()), super::cluster(dir.path()));
    let at = now_ms() - 60_000;
    let mut request = WriteRequest::default();
    let mut add = |kind: &str, i: usize| {
        let (name, host) = (format!("m{}", i % 11), format!("h{}", i % 17));
        let labels = [("__name__", name.as_str()), ("instance", &host), ("job", "many"), ("kind", kind)];
        request.push(&TimeSeries::new(labels).sample(at, 1.0));
    };
    // Of many values each ingester has one or two series, and of some a few more, which are last by name.
    for value in 0..2500 {
        (0..3).for_each(|i| add(&format!("k{value:04}"), 7 * value + i));
    }
    for value in 0..40 {
        (0..4 + value / 4).for_each(|i| add(&format!("z{value:02}"), 5 * value + i));
    }
    prometheus.push(&request).unwrap();
    assert_eq!(cluster.push(&request).unwrap().status, 204);
    let [theirs, ours] = [prometheus.url(), &cluster.query].map(|url| {
        get_json(&format!("{url}/api/v1/status/tsdb"), &[("limit", "30")]).unwrap()["data"].clone()
    });
    for list in LISTS {
        assert_eq!(values(&ours[list]), values(&theirs[list]), "{list}");
    }
    let asked = [("label_names[]", "kind"), ("limit", "40")];
    let url = format!("{}/api/v1/cardinality/label_values", cluster.query);
    let ours = get_json(&url, &asked).unwrap()["labels"][0].clone();
    assert_eq!(ours["label_values_count"], 2540);
    for (place, value) in (0..40usize).rev().enumerate() {
        // Equal ones by name.
        let (first, last) = (value / 4 * 4, value / 4 * 4 + 3);
        let one = &ours["cardinality"][place];
        let name = format!("z{:02}", first + (last - value));
        assert_eq!((&one["label_value"], &one["series_count"]), (&name.into(), &(4 + value / 4).into()));
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
