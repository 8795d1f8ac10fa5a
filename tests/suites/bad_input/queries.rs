use system_tests::{Answer, Firn, get, now_ms, post_form, seconds};

use super::{expect, one, start, values};

fn ask(firn: &Firn, query: &str) -> Answer {
    // Long queries come by POST.
    post_form(&format!("{}/api/v1/query", firn.url()), &[("query", query), ("time", &seconds(now_ms()))])
        .unwrap()
}

#[test]
fn promql_bombs_are_refused_by_name_and_the_next_query_is_answered() {
    let (_dir, mut firn) = start(&[]);
    assert_eq!(firn.push(&one("known", 5.0)).unwrap().status, 204);
    let nested = |open: &str, inner: &str, close: &str, n: usize| open.repeat(n) + inner + &close.repeat(n);
    let ranges = "[5m:1m]".repeat(3_000);
    let bombs = [
        ("100,000 parentheses", nested("(", "1", ")", 100_000)),
        ("100,000 open parentheses", "(".repeat(100_000)),
        ("50,000 functions", nested("abs(", "known", ")", 50_000)),
        ("100,000 signs", "-".repeat(100_000) + "1"),
        ("50,000 sums", "1".to_string() + &"+1".repeat(50_000)),
        ("50,000 powers", "1".to_string() + &"^1".repeat(50_000)),
        ("50,000 aggregations", nested("sum(", "known", ")", 50_000)),
        ("3,000 subqueries", format!("known{ranges}")),
        ("a huge regex", format!("known{{job=~\"{}\"}}", "(a|b|c|d){1000}".repeat(50))),
        ("a regex of nested repeats", "known{job=~\"((((a{100}){100}){100}){100})\"}".to_string()),
        ("a regex that does not close", "known{job=~\"((((\"}".to_string()),
        ("a string that does not close", "known{job=\"".to_string() + &"x".repeat(1_000_000)),
        ("a million brackets of matchers", "{".repeat(1_000_000)),
        ("a number that is too long", "9".repeat(1_000_000) + "x"),
    ];
    for (what, bomb) in &bombs {
        let answer = ask(&firn, bomb);
        let said = answer.json();
        assert!([400, 413, 422].contains(&answer.status), "{what}: {}", answer.status);
        assert_eq!(said["status"], "error", "{what}");
        let length = said["error"].as_str().map_or(0, str::len);
        assert!((1..5_000).contains(&length), "{what}: the message has {length} bytes");
        println!(
            "{what}: {} {}",
            answer.status,
            said["error"].as_str().unwrap().chars().take(120).collect::<String>()
        );
        assert!(firn.child().is_running(), "{what} killed it:\n{}", firn.child().output());
    }
    assert_eq!(values(&firn, "known"), [5.0]);
}

#[test]
fn wrong_parameters_are_400_in_prometheus_words() {
    let (_dir, firn) = start(&[]);
    let ask = |path: &str, parameters: &[(&str, &str)]| {
        get(&format!("{}/api/v1/{path}", firn.url()), parameters).unwrap()
    };
    for (what, path, parameters, word) in [
        ("no query", "query", &[][..], "query"),
        ("an unknown function", "query", &[("query", "nosuch(up)")], "nosuch"),
        ("a range where a vector belongs", "query", &[("query", "sum(up[5m])")], "range"),
        ("a wrong time", "query", &[("query", "up"), ("time", "yesterday")], "time"),
        ("a wrong timeout", "query", &[("query", "up"), ("timeout", "soon")], "timeout"),
        ("no start", "query_range", &[("query", "up"), ("end", "2"), ("step", "1")], "start"),
        (
            "the end before the start",
            "query_range",
            &[("query", "up"), ("start", "5"), ("end", "2"), ("step", "1")],
            "end",
        ),
        (
            "a step of zero",
            "query_range",
            &[("query", "up"), ("start", "1"), ("end", "2"), ("step", "0")],
            "step",
        ),
        (
            "too many steps",
            "query_range",
            &[("query", "up"), ("start", "0"), ("end", "1000000"), ("step", "1")],
            "11,000",
        ),
        ("no selector", "series", &[], "match"),
        ("a selector of everything", "series", &[("match[]", "{}")], "match"),
        ("a wrong selector", "labels", &[("match[]", "up{")], "parse error"),
        ("a limit that is none", "labels", &[("limit", "-1")], "limit"),
    ] {
        let answer = ask(path, parameters);
        expect(what, &answer, 400, &[word]);
        let said = answer.json();
        assert_eq!(
            (said["status"].as_str(), said["errorType"].as_str()),
            (Some("error"), Some("bad_data")),
            "{what}"
        );
    }
}
