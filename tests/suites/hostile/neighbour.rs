use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use system_tests::{TimeSeries, WriteRequest, seconds};

use super::verdict::Verdicts;
use super::{HOSTILE, LIMIT_MIB, OTHERS, QUERIES_AND_SLACK_PERCENT, When, World, from_environment, n_series};

const NEIGHBOUR: &str = "neighbour";
/// Connections of a browser.
const CONNECTIONS: usize = 6;
/// Clients of each hostile tenant, each with one query after the other.
const CLIENTS: usize = 4;

/// Loads of the dashboard at the most: hostile clients have met their limits long before.
const ROUNDS_MAX: usize = 5_000;

/// Scrapes of the neighbour's series, every 15 s.
const SCRAPES: i64 = 60;

/// A dashboard beside hostile queries of several tenants has the answers that it has alone; how long it takes is shown.
pub(super) fn goes_on(world: &mut World, of: &str) {
    if of == "heads" {
        load(world);
    }
    let rounds = from_environment("HOSTILE_ROUNDS", 10);
    let expected: Vec<String> =
        panels().map(|panel| world.ask(NEIGHBOUR, &panel, &last_hour(world)).body).collect();
    assert!(expected.iter().all(|body| body.contains("\"values\"")), "{expected:?}");
    let alone = dashboards(world, &expected, rounds, || true);
    let verdicts = Verdicts::default();
    let beside = beside_hostile_clients(world, &verdicts, || {
        dashboards(world, &expected, rounds, || has_pressed(&verdicts))
    });
    let (alone, beside) = (Quantiles::of(alone), Quantiles::of(beside));
    println!(
        "of {of}: panels took {alone} alone, {beside} beside {} hostile clients over {} series: {:.2} times the p99",
        CLIENTS * 3,
        n_series(),
        beside.p99.as_secs_f64() / alone.p99.as_secs_f64(),
    );
    println!(
        "of {of}: {verdicts:?}; {} slices were handed over",
        world.metric("firn_querier_handovers_total")
    );
    // Far from what is measured, and far from what it is when somebody waits for the end of others' queries.
    assert!(beside.p99 < 10 * alone.p99 + Duration::from_secs(5), "{beside} against {alone}: starved");
    check(world, &verdicts, of);
}

/// Whether hostile clients asked enough, and met what they should.
fn has_pressed(verdicts: &Verdicts) -> bool {
    let limits = ["memory_limit", "max_bytes_per_query"];
    verdicts.all() >= 2 * 3 * CLIENTS && limits.iter().all(|limit| verdicts.count(limit) > 0)
}

/// The hostile clients pressed as they should, and nothing is left of them.
fn check(world: &mut World, verdicts: &Verdicts, of: &str) {
    assert!(has_pressed(verdicts), "of {of}: {verdicts:?}");
    let peak = world.hold("with hostile queries and a dashboard");
    println!("of {of}: RSS was {} MiB with everything in heads, its peak {peak} MiB", world.loaded_mib);
    if of == "heads" {
        let allowed = world.loaded_mib + LIMIT_MIB * QUERIES_AND_SLACK_PERCENT / 100;
        assert!(
            peak <= allowed,
            "queries took more than their share: RSS of {peak} MiB, {allowed} are allowed"
        );
    }
    for gauge in ["firn_querier_queries_evaluating", "firn_querier_queries_computing"] {
        assert_eq!(world.metric(gauge), 0.0, "of {of}: {gauge}: something is still evaluated");
    }
}

/// What `work` gives while the clients of each hostile tenant ask one query after the other.
fn beside_hostile_clients<T>(world: &World, verdicts: &Verdicts, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for tenant in [HOSTILE, OTHERS[0], OTHERS[1]] {
            for client in 0..CLIENTS {
                let stop = &stop;
                scope.spawn(move || {
                    for (query, when) in hostile(world).into_iter().cycle().skip(client) {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let answer = world.ask(tenant, query, &when);
                        verdicts.of(&format!("{tenant}: {query}"), &answer);
                    }
                });
            }
        }
        let _stops = StopOnDrop(&stop);
        work()
    })
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
    When { path: "query_range", asks_by: "query", parameters }
}

fn hostile(world: &World) -> Vec<(&'static str, When)> {
    vec![
        (r#"{__name__=~".*bo.b.*",n=~".*[0-9]$"}"#, world.now()),
        (r#"last_over_time(bomb{job="j1"}[3h])"#, world.eleven_thousand_steps()),
        (r#"count_values("v", bomb{job=~"j[2-4]"})"#, world.now()),
        (r#"{n=~".+"}"#, world.listed()),
        (r#"sort(abs(bomb{job="j3"} * 2)) > 1e9"#, world.now()),
        (r#"max_over_time(sum_over_time(bomb{job="j4"}[5m:1s])[5m:1s])"#, world.now()),
        (r#"sum by (n) (last_over_time(bomb{job="j5"}[3h]))"#, world.eleven_thousand_steps()),
    ]
}

/// How long each panel took, of so many loads of the dashboard, and more until that is enough; every answer must be the
/// expected one.
fn dashboards(
    world: &World,
    expected: &[String],
    rounds: usize,
    is_enough: impl Fn() -> bool,
) -> Vec<Duration> {
    let panels: Vec<String> = panels().collect();
    let mut took = Vec::new();
    for round in 0..ROUNDS_MAX {
        if round >= rounds && is_enough() {
            break;
        }
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

/// Of how long panels took.
struct Quantiles {
    p50: Duration,
    p99: Duration,
}

impl Quantiles {
    fn of(mut took: Vec<Duration>) -> Quantiles {
        took.sort();
        let at = |percent: usize| took[(took.len() * percent).div_ceil(100).clamp(1, took.len()) - 1];
        Quantiles { p50: at(50), p99: at(99) }
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1?} (p50) and {:.1?} (p99)", self.p50, self.p99)
    }
}
