//! `/search/*`, byte for byte.

use serde_json::Value;
use system_tests::{Chance, Surface, get, post_form};

use super::Twins;

const N_SEARCHES: usize = 1500;
/// Terms: whole names, parts, misspellings, other cases, nothing.
const TERMS: [&str; 14] = [
    "http",
    "requests_total",
    "reqest",
    "htp_rqs",
    "UP",
    "up",
    "größe",
    "Größe_",
    "node_cpu_seconds",
    "sec",
    "t",
    "zzz",
    "",
    "job-1",
];

#[test]
fn searches_find_what_prometheus_finds_in_its_order_and_with_its_scores() {
    let Some(twins) = Twins::start() else { return };
    let mut chance = Chance::new(5);
    let searches: Vec<Search> = (0..N_SEARCHES).map(|_| Search::draw(&mut chance)).collect();
    for (form, firn) in twins.firns() {
        let n_found = compare(&twins, form, firn, &searches);
        println!("search: {form} answers {N_SEARCHES} searches as Prometheus does, with {n_found} results");
    }
    twins.firn.flush_all().unwrap();
    compare(&twins, "tables", &twins.firn, &searches[..N_SEARCHES / 5]);
}

struct Search {
    endpoint: &'static str,
    parameters: Vec<(&'static str, &'static str)>,
}

impl Search {
    fn draw(chance: &mut Chance) -> Search {
        let mut pick = |options: &[&'static str]| options[chance.below(options.len() as u64) as usize];
        let endpoint = pick(&["metric_names", "label_names", "label_values"]);
        let mut parameters = vec![("label", pick(&["job", "instance", "id", "none"]))];
        for _ in 0..pick(&["", "1", "1", "11"]).len() {
            parameters.push(("search[]", pick(&TERMS)));
        }
        let choices: [(&'static str, &[&'static str]); 9] = [
            ("fuzz_alg", &["", "", "subsequence", "jarowinkler", "jarowinkler"]),
            ("fuzz_threshold", &["", "0", "1", "30", "60", "90", "100"]),
            ("case_sensitive", &["", "", "true", "false", "F"]),
            ("sort_by", &["", "", "alpha", "alpha", "score"]),
            ("sort_dir", &["", "", "", "", "asc", "dsc"]),
            ("include_score", &["", "true", "true", "1"]),
            ("limit", &["", "", "1", "3", "10", "+5"]),
            ("batch_size", &["", "", "1", "2", "7"]),
            ("match[]", &["", "", "", "{job=\"job-1\"}", "{id=~\"[0-9]\"}"]),
        ];
        for (name, options) in choices {
            match pick(options) {
                "" => {}
                value => parameters.push((name, value)),
            }
        }
        // What is wrong with a request must be told alike, and the same fault of several.
        for _ in 0..pick(&["", "", "", "1", "11"]).len() {
            let fault =
                pick(&["fuzz_alg", "fuzz_threshold", "case_sensitive", "sort_by", "limit", "match[]", "end"]);
            parameters.retain(|(name, _)| *name != fault);
            parameters.push((fault, pick(&["x", "-1", "101.5", "{job!=\"\"", "{job=\"\"}"])));
        }
        Search { endpoint, parameters }
    }
}

/// How many results there were. Faults of parameters, too, must be told in the same words.
fn compare(twins: &Twins, form: &str, firn: &Surface, searches: &[Search]) -> usize {
    let (mut n_found, mut n_refused) = (0, 0);
    for (i, Search { endpoint, parameters }) in searches.iter().enumerate() {
        let path = format!("api/v1/search/{endpoint}");
        let theirs = get(&format!("{}/{path}", twins.prometheus.url()), parameters).unwrap();
        let url = format!("{}/{path}", firn.query);
        let ours = if i % 2 == 0 { get(&url, parameters) } else { post_form(&url, parameters) }.unwrap();
        assert_eq!(ours.status, theirs.status, "{form} {endpoint} {parameters:?}: {}", ours.body);
        let [ours, theirs] = [ours.body, theirs.body].map(|body| lines(&body));
        match is_any(endpoint, parameters) {
            true => assert_eq!(numbers(&ours), numbers(&theirs), "{form} {endpoint} {parameters:?}"),
            false => assert_eq!(ours, theirs, "{form} {endpoint} {parameters:?}"),
        }
        match ours[0].get("results") {
            Some(_) => n_found += ours.iter().filter_map(|line| line["results"].as_array()).flatten().count(),
            None => n_refused += 1,
        }
    }
    assert!(n_found > searches.len() && n_refused > searches.len() / 20, "{n_found} {n_refused}");
    n_found
}

/// Whether Prometheus answers with any values in any order. Without a term it takes as many as are wanted as they come
/// and sorts those, and does not sort by scores, which are all equal; Firn takes the first ones, in order.
fn is_any(endpoint: &str, parameters: &[(&str, &str)]) -> bool {
    let has = |name: &str| parameters.iter().any(|(n, value)| *n == name && !value.is_empty());
    let (by_score, descending) = (("sort_by", "score"), ("sort_dir", "dsc"));
    let is_cut = has("limit") && !parameters.contains(&descending);
    endpoint != "label_names" && !has("search[]") && (is_cut || parameters.contains(&by_score))
}

/// Without the results, their number.
fn numbers(lines: &[Value]) -> Vec<(Option<usize>, &Value, &Value)> {
    let number = |line: &Value| line["results"].as_array().map(Vec::len);
    lines.iter().map(|line| (number(line), &line["has_more"], &line["error"])).collect()
}

/// Each line as JSON: numbers keep their digits.
fn lines(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
