use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use system_tests::{TimeSeries, WriteRequest, seconds};

use super::{HOSTILE, When, World, n_series};

const NEIGHBOUR: &str = "neighbour";
/// Connections of a browser.
const CONNECTIONS: usize = 6;
/// Loads of the dashboard that are measured.
const ROUNDS: usize = 10;
/// Clients of the hostile tenant, each with one query after the other.
const HOSTILE_CLIENTS: usize = 4;

/// Scrapes of the neighbour's series, every 15 s.
const SCRAPES: i64 = 60;

/// A dashboard beside hostile queries has the answers that it has alone, and waits for slices, not for whole queries.
pub(super) fn goes_on(world: &mut World) {
    load(world);
    let expected = panels().map(|panel| world.ask(NEIGHBOUR, &panel, &last_hour(world)).body);
    let expected: Vec<String> = expected.collect();
    assert!(expected.iter().all(|body| body.contains("\"values\"")), "{expected:?}");
    let alone = dashboards(world, &expected);

    let (stop, n_hostile) = (AtomicBool::new(false), AtomicUsize::new(0));
    let beside = std::thread::scope(|scope| {
        for client in 0..HOSTILE_CLIENTS {
            let (world, stop, n_hostile) = (&*world, &stop, &n_hostile);
            scope.spawn(move || {
                for (query, when) in hostile(world).into_iter().cycle().skip(client) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = world.ask(HOSTILE, &query, &when);
                    assert!([200, 422, 503, 504].contains(&answer.status), "{query}: {}", answer.body);
                    n_hostile.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stops = StopOnDrop(&stop);
        dashboards(world, &expected)
    });
    let n_hostile = n_hostile.into_inner();
    let (alone, beside) = (p99(alone), p99(beside));
    println!(
        "p99 of a panel: {alone:.1?} alone, {beside:.1?} beside {HOSTILE_CLIENTS} hostile clients ({:.2} times); {n_hostile} hostile queries over {} series; peak RSS {} MiB",
        beside.as_secs_f64() / alone.as_secs_f64(),
        n_series(),
        world.hold("with hostile queries and a dashboard")
    );
    assert!(n_hostile >= HOSTILE_CLIENTS, "hostile queries ended, too: {n_hostile}");
    let handovers = world.metric("firn_querier_handovers_total");
    println!("{handovers} slices were handed over");
    assert!(handovers > 0.0, "nobody handed a processor over");
    assert_eq!(world.metric("firn_querier_queries_evaluating"), 0.0, "something is still evaluated");
}

/// Ends the hostile clients, also when the neighbour's test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A target with a few hundred series, over the last quarter of an hour.
fn load(world: &World) {
    let mut request = WriteRequest::default();
    for i in 0..300 {
        let (code, path) = (format!("{}", 200 + i % 3), format!("/p{}", i / 30));
        let le = ["0.1", "0.5", "1", "5", "+Inf"][i % 5];
        let labels =
            [("__name__", "requests_total"), ("code", &code), ("job", "shop"), ("le", le), ("path", &path)];
        let mut series = TimeSeries::new(labels);
        for k in 0..SCRAPES {
            series = series.sample(world.at_ms - (SCRAPES - k) * 15_000, (k * (1 + i as i64 % 5)) as f64);
        }
        request.push(&series);
    }
    world.push(NEIGHBOUR, &request);
}

fn panels() -> impl Iterator<Item = String> {
    (0..20).map(|i| match i % 5 {
        0 => format!(r#"sum by (code) (rate(requests_total{{path="/p{}"}}[5m]))"#, i / 2),
        1 => format!(r#"topk({}, sum by (path) (rate(requests_total[5m])))"#, 1 + i / 5),
        2 => format!(r#"histogram_quantile(0.9{i}, sum by (le) (rate(requests_total[5m])))"#),
        3 => format!(r#"max_over_time(requests_total{{path=~"/p[{}].*"}}[5m])"#, i / 5),
        _ => format!(r#"sum(requests_total{{code="20{}"}}) / sum(requests_total)"#, i % 3),
    })
}

fn last_hour(world: &World) -> When {
    let parameters = vec![
        ("start", seconds(world.at_ms - 3_600_000)),
        ("end", seconds(world.at_ms)),
        ("step", "15".to_string()),
    ];
    When { path: "query_range", parameters }
}

fn hostile(world: &World) -> Vec<(String, When)> {
    [
        (r#"{__name__=~".*bo.b.*",n=~".*[0-9]$"}"#, world.now()),
        (r#"last_over_time(bomb{job="j1"}[3h])"#, world.eleven_thousand_steps()),
        (r#"count_values("v", bomb{job="j2"})"#, world.now()),
        (r#"sort(abs(bomb{job="j3"} * 2)) > 1e9"#, world.now()),
        (r#"max_over_time(sum_over_time(bomb{job="j4"}[5m:1s])[5m:1s])"#, world.now()),
    ]
    .into_iter()
    .map(|(query, when)| (query.to_string(), when))
    .collect()
}

/// How long each panel took, of several loads of the dashboard; every answer must be the expected one.
fn dashboards(world: &World, expected: &[String]) -> Vec<Duration> {
    let panels: Vec<String> = panels().collect();
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let next = AtomicUsize::new(0);
        let results = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut results = Vec::new();
                        loop {
                            let at = next.fetch_add(1, Ordering::Relaxed);
                            let Some(panel) = panels.get(at) else { return results };
                            let started = Instant::now();
                            let answer = world.ask(NEIGHBOUR, panel, &last_hour(world));
                            results.push((at, started.elapsed(), answer));
                        }
                    })
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        for (at, duration, answer) in results {
            assert_eq!(answer.status, 200, "{}: {}", panels[at], answer.body);
            assert_eq!(answer.body, expected[at], "{}", panels[at]);
            took.push(duration);
        }
    }
    took
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[(took.len() * 99).div_ceil(100).saturating_sub(1).min(took.len() - 1)]
}
