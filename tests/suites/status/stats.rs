//! `stats=all`: how many samples a query looked at and how many of these were read, by step and in all, as Prometheus
//! counts them; and what was read from the store for it.

use serde_json::Value;
use system_tests::{Cluster, ClusterOptions, Firn, FirnOptions, Storage, part, post_form, seconds};

use crate::twins::{self, Data, STEP_MS};

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// What both must count alike. The most samples at once are those of an engine's own way of evaluating.
const FIGURES: [&str; 4] =
    ["totalQueryableSamples", "totalQueryableSamplesPerStep", "samplesRead", "samplesReadPerStep"];

#[test]
fn samples_looked_at_and_read_are_those_of_prometheus_step_by_step() {
    let Some(binary) = part("bin/prometheus") else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = Data::new();
    let prometheus = twins::prometheus(&binary, dir.path(), &data);
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let options = ClusterOptions::over(Storage::Folder(dir.path().join("apart"))).with_ingesters(2);
    let apart = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    data.push_to(&firn);
    data.push_to(&apart);
    let asks = asks(&data);
    let theirs: Vec<Value> = asks.iter().map(|ask| figures(prometheus.url(), ask)).collect();
    let n_reused = theirs.iter().filter(|said| said["samplesRead"] != said["totalQueryableSamples"]).count();
    assert!(asks.len() > 700 && n_reused > 150, "{} of {}", n_reused, asks.len());
    let (mut wrong, mut n_less) = (Vec::new(), 0);
    let mut check = |place: &str, url: &str, every: usize| {
        for (ask, theirs) in asks.iter().zip(&theirs).step_by(every) {
            let ours = figures(url, ask);
            let (read_here, read_there) = (ours["samplesRead"].as_u64(), theirs["samplesRead"].as_u64());
            if ask.reads_for_nobody() && read_here < read_there {
                n_less += 1;
                continue;
            }
            for figure in FIGURES {
                if ours[figure] != theirs[figure] {
                    wrong.push(format!(
                        "{place}: {ask:?}: {figure}\n  {}\n  {}",
                        ours[figure], theirs[figure]
                    ));
                    break;
                }
            }
        }
    };
    check("in memory", firn.url(), 1);
    firn.flush_all().unwrap();
    check("in tables", firn.url(), 3);
    check("processes apart", &apart.query, 5);
    let shown: Vec<String> = wrong.iter().take(20).cloned().collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), shown.join("\n"));
    println!(
        "stats: {} queries are counted as Prometheus counts them, {n_reused} of them read less than they look at; {n_less} \
         subqueries at a pinned time are read for the one time that uses them, where Prometheus reads for all steps",
        asks.len()
    );
}

#[test]
fn bytes_and_requests_are_what_was_read_from_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let data = Data::new();
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let options = ClusterOptions::over(Storage::Folder(dir.path().join("apart"))).with_ingesters(2);
    let apart = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    for (form, surface) in [("one process", &*firn), ("processes apart", &*apart)] {
        data.push_to(surface);
        let (from, to) = (seconds(data.from_ms), seconds(data.to_ms()));
        let storage = |query: &str| {
            let ask = Ask {
                query: query.to_string(),
                range: Some((from.clone(), to.clone(), "15")),
                at: to.clone(),
            };
            let stats = stats(&surface.query, &ask);
            let figure = |name: &str| stats["storage"][name].as_u64().unwrap();
            (figure("series"), figure("samples"), figure("requests"), figure("bytes"))
        };
        let (series, samples, requests, bytes) = storage("sum(many)");
        assert_eq!((series, samples, requests, bytes), (40, 3200, 0, 0), "{form}: from memory");
        surface.flush_all().unwrap();
        // The head lets go of what is in tables after a while; what it still has is not read from them.
        let stored = system_tests::wait_until(std::time::Duration::from_secs(60), || {
            let found = storage("sum(many) + sum(weird)");
            (found.2 > 0).then_some(found)
        });
        let (series, samples, requests, bytes) = stored.unwrap_or_else(|| panic!("{form}: nothing is read"));
        assert_eq!((series, samples), (52, 52 * 80), "{form}: from tables");
        assert!(bytes > 1000, "{form}: {requests} requests, {bytes} bytes");
        // What was read is kept in the memory of the querier, and costs the store nothing.
        let again = storage("sum(many) + sum(weird)");
        assert_eq!((again.0, again.1), (series, samples), "{form}");
        assert!(again.2 <= requests && again.3 < bytes, "{form}: {again:?} after {requests} and {bytes}");
        println!("stats: {form}: {requests} requests and {bytes} bytes, then {} and {}", again.2, again.3);
    }
}

/// A query, at its end or over a range.
#[derive(Debug, Clone)]
struct Ask {
    query: String,
    /// Start, end and step.
    range: Option<(String, String, &'static str)>,
    at: String,
}

impl Ask {
    /// A subquery with `@` in a function of the time is evaluated by Prometheus from its pinned time on for as long as
    /// the query's range is, though all steps use the pinned time only.
    fn reads_for_nobody(&self) -> bool {
        self.range.is_some() && self.query.starts_with("predict_linear(up") && self.query.contains(" @ ")
    }
}

fn stats(url: &str, ask: &Ask) -> Value {
    let mut form = vec![("query", ask.query.as_str()), ("stats", "all")];
    let path = match &ask.range {
        Some((start, end, step)) => {
            form.extend([("start", start.as_str()), ("end", end), ("step", step)]);
            "query_range"
        }
        None => {
            form.push(("time", &ask.at));
            "query"
        }
    };
    let answer = post_form(&format!("{url}/api/v1/{path}"), &form).unwrap();
    assert_eq!(answer.status, 200, "{ask:?}: {}", answer.body);
    answer.json()["data"]["stats"].clone()
}

fn figures(url: &str, ask: &Ask) -> Value {
    stats(url, ask)["samples"].clone()
}

/// Windows and subqueries of every length, shifted in every way, alone and within other expressions; at one time, and
/// at steps that are shorter and longer than the windows.
fn asks(data: &Data) -> Vec<Ask> {
    let (from, to) = (seconds(data.from_ms + 30 * STEP_MS), seconds(data.to_ms() - 3 * STEP_MS));
    let mut queries: Vec<String> = Vec::new();
    let pinned = format!(" @ {}", seconds(data.from_ms + 50 * STEP_MS));
    let shifts = ["", " offset 1m", " offset -40s", " @ start()", " @ end() offset 2m", &pinned];
    for shift in shifts {
        for range in ["10s", "15s", "50s", "5m"] {
            for function in ["rate", "max_over_time", "absent_over_time"] {
                queries.push(format!("{function}(up[{range}]{shift})"));
            }
            queries.push(format!("histogram_avg(rate(latency_native[{range}]{shift}))"));
            queries.push(format!("predict_linear(many{{n=~\"n0.\"}}[{range}]{shift}, 60)"));
        }
        for range in ["4s:1s", "20s:15s", "1m:15s", "3m:7s", "5m:"] {
            queries.push(format!("sum_over_time(up[{range}]{shift})"));
            queries.push(format!("last_over_time(rate(many{{n=\"n07\"}}[1m])[{range}]{shift})"));
            queries.push(format!("predict_linear(up[{range}]{shift}, 60)"));
            queries.push(format!("count_over_time((up + on () group_left () sum(weird{shift}))[{range}])"));
        }
        queries.extend([format!("up{shift}"), format!("sum by (code) (http_requests_total{shift})")]);
        queries.push(format!("max_over_time(sum_over_time(up[30s:10s]{shift})[1m:20s])"));
        queries.push(format!("timestamp(up{shift})"));
        queries.push(format!("latency_native{shift} + on (instance) group_left () up"));
    }
    for query in [
        "1",
        "vector(time())",
        "nothing_of_this_name",
        "absent(up)",
        "scalar(sum(many))",
        "sum(many) + sum(many)",
        "topk(3, many) or bottomk(2, weird)",
        "quantile(0.9, many) unless count_values(\"v\", up)",
        "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[1m])))",
        "label_replace(up, \"a\", \"b\", \"\", \"\") * 2",
        "increase(up[1m] anchored)",
        "rate(up[50s] smoothed)",
        "up smoothed",
        "sort_desc(up) > bool 0.5",
        "limitk(2, many)",
        "time() - timestamp(latency_native)",
    ] {
        queries.push(query.to_string());
    }
    let mut asks = Vec::new();
    for query in queries {
        let of = |range| Ask { query: query.clone(), range, at: to.clone() };
        asks.push(of(None));
        for step in ["15", "60", "7"] {
            asks.push(of(Some((from.clone(), to.clone(), step))));
        }
    }
    for query in
        ["up[1m]", "many[15s] offset 1m", "latency_native[30s]", "up[2m:15s]", "(up * 2)[1m:7s] @ end()"]
    {
        asks.push(Ask { query: query.to_string(), range: None, at: to.clone() });
    }
    asks
}
