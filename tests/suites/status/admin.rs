//! `/admin/tsdb/*`.

use system_tests::{get_json, post, put, seconds};

use super::Twins;

const NO_BODY: &[u8] = &[];

#[test]
fn deletions_delete_what_prometheus_deletes_and_are_refused_as_there() {
    let Some(twins) = Twins::start() else { return };
    let compactor = twins.cluster.url("compactor").unwrap();
    let (from, to) = (seconds(twins.data.newest_ms - 120_000), seconds(twins.data.newest_ms - 60_000));
    let encoded = |selector: &str| selector.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
    let deletions = [
        format!("match[]={}&start={from}&end={to}", encoded("{job=\"job-1\"}")),
        format!("match[]={}&match[]=at_the_end", encoded("{job=\"job-2\",instance=~\"host-[0-2].*\"}")),
        format!("match[]={}&end={from}", encoded("{job=\"job-3\"}")),
        format!("match[]={}&start={to}", encoded("{job=\"job-4\"}")),
        // The wrong way round: nothing.
        format!("match[]={}&start={to}&end={from}", encoded("{job=\"job-5\"}")),
        // Without a series that matches.
        "match[]=nothing".to_string(),
    ];
    let wrong = [
        "".to_string(),
        format!("start={from}"),
        "match[]=up%7B".to_string(),
        "match[]=up&start=yesterday".to_string(),
        "match[]=up&end=1.2.3".to_string(),
    ];
    for (form, firn, admin) in [
        ("one process", twins.firn.url(), twins.firn.url()),
        ("a process per role", &twins.cluster.query, &compactor),
    ] {
        for (i, query) in deletions.iter().chain(&wrong).enumerate() {
            let ask = |url: &str| {
                let url = format!("{url}/api/v1/admin/tsdb/delete_series?{query}");
                if i % 2 == 0 { post(&url, &[], NO_BODY) } else { put(&url, NO_BODY) }.unwrap()
            };
            let (theirs, ours) = (ask(twins.prometheus.url()), ask(admin));
            assert_eq!((ours.status, ours.body), (theirs.status, theirs.body), "{form} {query}");
        }
        let count = |url: &str| {
            let query = "sort_by_label(count_over_time({job!=\"\"}[1h]), \"job\", \"instance\", \"id\")";
            let at = seconds(twins.data.newest_ms);
            let answer = get_json(&format!("{url}/api/v1/query"), &[("query", query), ("time", &at)]);
            answer.unwrap()["data"]["result"].clone()
        };
        let (theirs, ours) = (count(twins.prometheus.url()), count(firn));
        assert_eq!(ours, theirs, "{form}");
        assert!(theirs.as_array().unwrap().len() > 100, "most is left");
        for (method, path, status) in [
            ("POST", "clean_tombstones", 204),
            ("PUT", "clean_tombstones", 204),
            ("POST", "snapshot?skip_head=maybe", 400),
            ("PUT", "snapshot", 501),
        ] {
            let url = format!("{admin}/api/v1/admin/tsdb/{path}");
            let answer = if method == "PUT" { put(&url, NO_BODY) } else { post(&url, &[], NO_BODY) }.unwrap();
            assert_eq!(answer.status, status, "{form} {method} {path}: {}", answer.body);
        }
        assert_eq!(count(firn), theirs, "{form} after its files were rewritten");
    }
}
