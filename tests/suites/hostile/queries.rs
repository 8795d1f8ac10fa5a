use super::verdict::Verdicts;
use super::{HOSTILE, When, World};

/// What a hostile query comes to.
enum Ends {
    /// In one of these limits.
    In(&'static [&'static str]),
    /// In a right answer, however much work it was.
    Well,
}

/// The share of memory that queries have.
const MEMORY: Ends = Ends::In(&["memory_limit"]);
/// Cells or time, where they are too many or too long before the bytes are too many.
const CELLS: Ends = Ends::In(&["max_samples_per_query", "memory_limit", "timed out"]);
const DEPTH: Ends = Ends::In(&["levels deep"]);
const PATTERN: Ends = Ends::In(&["size limit", "invalid repeat count"]);

/// Each query ends as it must, and the ones after it are answered.
pub(super) fn end_in_limits(world: &mut World) {
    let verdicts = Verdicts::default();
    for (what, query, when, ends) in cases(world) {
        let started = std::time::Instant::now();
        let answer = world.ask(HOSTILE, &query, &when);
        let verdict = verdicts.of(what, &answer);
        let (status, took, peak) = (answer.status, started.elapsed(), world.hold(what));
        println!("{what}: {status} {verdict} in {took:.2?}, peak RSS {peak} MiB");
        match ends {
            Ends::In(limits) => assert!(limits.contains(&verdict), "{what}: {limits:?}: {}", answer.body),
            Ends::Well => assert_eq!(verdict, "answered", "{what}: {}", answer.body),
        }
        assert!(world.firn.child().is_running(), "{what} killed it:\n{}", world.firn.child().output());
    }
    let right = world.ask(HOSTILE, "bomb{n=\"77\"} + 1", &world.now()).json();
    assert_eq!(right["data"]["result"][0]["value"][1], "78", "later queries are right");
    let sum = world.ask(HOSTILE, "count(bomb{n=~\"[0-9]{3}\"})", &world.now()).json();
    assert_eq!(sum["data"]["result"][0]["value"][1], "900", "and so are regular expressions");
}

/// What it is called, the query, its times, and what it comes to.
type Case = (&'static str, String, When, Ends);

fn cases(world: &World) -> Vec<Case> {
    let all = [of_many_series, of_many_cells, of_long_labels, of_patterns, of_long_texts_and_times];
    all.iter().flat_map(|of_a_kind| of_a_kind(world)).collect()
}

/// Too many series, groups or values.
fn of_many_series(world: &World) -> Vec<Case> {
    let now = || world.now();
    let steps = || world.eleven_thousand_steps();
    vec![
        (
            "a million series by a regular expression",
            r#"{__name__=~".*bo.b.*",n=~".*[0-9]$"}"#.into(),
            now(),
            MEMORY,
        ),
        ("a million series of a negative one", r#"{job=~".+",n!~"x.*y"}"#.into(), now(), MEMORY),
        ("a million series at 11,000 steps", "last_over_time(bomb[3h])".into(), steps(), MEMORY),
        ("100,000 series at 11,000 steps", r#"last_over_time(bomb{job="j1"}[3h])"#.into(), steps(), CELLS),
        (
            "100,000 groups at 11,000 steps",
            r#"sum by (n) (last_over_time(bomb{job="j1"}[3h]))"#.into(),
            steps(),
            CELLS,
        ),
        (
            "100,000 values at 11,000 steps",
            r#"count_values("v", last_over_time(bomb{job="j1"}[3h]))"#.into(),
            steps(),
            CELLS,
        ),
        (
            "a value of its own at each of 11,000 steps of 1,000 series",
            r#"count_values("v", last_over_time(bomb{n=~"[0-9]{3}1"}[3h]) + time())"#.into(),
            steps(),
            CELLS,
        ),
        (
            "subqueries in subqueries",
            r#"max_over_time(sum_over_time(last_over_time(bomb{job="j1"}[3h])[3h:1s])[6h:1s])"#.into(),
            world.an_hour_later(),
            CELLS,
        ),
    ]
}

/// Steps without end, and series that are matched at each.
fn of_many_cells(world: &World) -> Vec<Case> {
    let now = || world.now();
    let steps = || world.eleven_thousand_steps();
    vec![
        ("a subquery of a century", "max_over_time(vector(time())[100y:1s])".into(), now(), CELLS),
        ("a subquery of a century at each step", "sum_over_time(vector(1)[100y:1s])".into(), steps(), CELLS),
        (
            "100,000 series beside each other at 11,000 steps",
            r#"last_over_time(bomb{job="j1"}[3h]) * on (n) last_over_time(bomb{job="j1"}[3h])"#.into(),
            steps(),
            CELLS,
        ),
        (
            "one beside 100,000",
            r#"last_over_time(bomb{job="j1"}[3h]) * on () group_left () vector(2)"#.into(),
            steps(),
            CELLS,
        ),
        (
            "many to many",
            r#"bomb{job="j1"} * on (job) group_left (n) bomb{job="j1"}"#.into(),
            now(),
            Ends::In(&["many-to-many", "memory_limit"]),
        ),
        ("the union of ten times 100,000", union(10), now(), MEMORY),
        ("a union of 190 selectors", union(190), now(), MEMORY),
        ("a union of 300 selectors", union(300), now(), MEMORY),
    ]
}

/// Many rows to be put in order, and labels that grow.
fn of_long_labels(world: &World) -> Vec<Case> {
    let now = || world.now();
    let steps = || world.eleven_thousand_steps();
    vec![
        ("the greatest of a million", "topk(1000000, bomb)".into(), now(), MEMORY),
        (
            "quantiles of 11,000 steps",
            r#"quantile by (n) (0.5, last_over_time(bomb{job="j1"}[3h]))"#.into(),
            steps(),
            CELLS,
        ),
        (
            "a label that grows fourfold, 20 times",
            grown("label_replace(", r#", "x", "$1$1$1$1", "n|x", "(.*)")"#, 20),
            now(),
            Ends::Well,
        ),
        (
            "labels that grow fourfold, 20 times",
            grown("label_replace(", r#", "n", "$1$1$1$1", "n", "(.*)")"#, 20),
            now(),
            MEMORY,
        ),
        (
            "labels that are joined to themselves, 40 times",
            grown("label_join(", r#", "n", "", "n", "n")"#, 40),
            now(),
            MEMORY,
        ),
    ]
}

/// Expressions that take long to compile or to match.
fn of_patterns(world: &World) -> Vec<Case> {
    let now = || world.now();
    vec![
        ("a bomb of quantifiers", r#"bomb{n=~"((((a{100}){100}){100}){100})"}"#.into(), now(), PATTERN),
        (
            "a bomb of alternatives",
            format!("bomb{{n=~\"{}\"}}", "(a|b|c|d){1000}".repeat(50)),
            now(),
            PATTERN,
        ),
        (
            "a pattern that others backtrack in",
            r#"count(bomb{n="5",job=~"((.+)*)*x"}) or vector(0)"#.into(),
            now(),
            Ends::Well,
        ),
        (
            "a thousand patterns",
            format!("bomb{{{}}}", r#"n=~"a.*","#.repeat(1_000)),
            now(),
            Ends::In(&["max_regex_matchers_per_query"]),
        ),
        (
            "a megabyte of text",
            format!("bomb{{n=\"{}\"}}", "x".repeat(1 << 20)),
            now(),
            Ends::In(&["max_query_expression_size_bytes"]),
        ),
        (
            "a megabyte of matchers",
            format!("bomb{{{}}}", r#"n="a","#.repeat(180_000)),
            now(),
            Ends::In(&["max_query_expression_size_bytes"]),
        ),
        ("as many matchers as fit", format!("bomb{{{}}}", r#"n="a","#.repeat(100_000)), now(), Ends::Well),
    ]
}

/// Deep nesting, and times far away.
fn of_long_texts_and_times(world: &World) -> Vec<Case> {
    let now = || world.now();
    let every_millisecond = When {
        path: "query_range",
        asks_by: "query",
        parameters: vec![("start", "0".into()), ("end", "1e10".into()), ("step", "0.001".into())],
    };
    vec![
        ("100,000 parentheses", "(".repeat(100_000) + "1" + &")".repeat(100_000), now(), DEPTH),
        ("a range of a century", "count(count_over_time(bomb{job=\"j1\"}[100y]))".into(), now(), Ends::Well),
        ("an offset of a century", "bomb offset 100y".into(), now(), Ends::Well),
        ("an offset of a century ahead", "bomb offset -100y".into(), now(), Ends::Well),
        ("the end of time", "bomb @ 9223372036854775".into(), now(), Ends::Well),
        ("a series of every label", r#"count by (n, job, __name__) (bomb)"#.into(), now(), MEMORY),
        ("a step of a millisecond for centuries", "bomb".into(), every_millisecond, Ends::In(&["11,000"])),
    ]
}

fn union(n: usize) -> String {
    let of_one = |i: usize| format!(r#"bomb{{job="j{}"}} * {i}"#, i % 10);
    (0..n).map(of_one).collect::<Vec<_>>().join(" or ")
}

/// A call around a call around …
fn grown(open: &str, close: &str, n: usize) -> String {
    open.repeat(n) + r#"bomb{n="12345"}"# + &close.repeat(n)
}
