//! The conformance corpus of Prometheus. It lies outside of the repository, in `FIRN_SHARED` or in `shared` beside
//! the checkout.

use std::collections::BTreeMap;
use std::path::PathBuf;

use testkit::script::{CommandKind, Report, parse, run};

use crate::memory::Memory;

/// How many cases the 21 scripts of Prometheus 3.15 have.
const CASES: usize = 2243;

/// The scripts by name, or nothing if the corpus is absent.
fn scripts() -> Option<BTreeMap<String, String>> {
    let shared = std::env::var_os("FIRN_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let Ok(entries) = std::fs::read_dir(shared.join("conformance/promqltest")) else {
        println!("CORPUS ABSENT");
        return None;
    };
    let mut scripts = BTreeMap::new();
    for entry in entries {
        let path = entry.expect("the folder of the corpus can be listed").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".test")) else {
            continue;
        };
        let script = std::fs::read_to_string(&path).expect("a file of the corpus can be read");
        scripts.insert(name.to_string(), script);
    }
    Some(scripts)
}

fn run_all() -> Option<Vec<Report>> {
    let scripts = scripts()?;
    Some(scripts.iter().map(|(name, script)| run(name, script, &mut Memory::default())).collect())
}

#[test]
fn every_case_passes() {
    let Some(reports) = run_all() else { return };
    let (mut passed, mut all, mut failures) = (0, 0, String::new());
    for report in &reports {
        let cases = report.passed + report.failed;
        println!("{:<24} {:>4} of {cases:>4}", report.name, report.passed);
        passed += report.passed;
        all += cases;
        failures += &report.failures_text();
    }
    println!("corpus: {passed} of {all} cases passed");
    if let Some(path) = std::env::var_os("FIRN_CORPUS_FAILURES") {
        std::fs::write(path, &failures).unwrap();
    }
    assert!(failures.is_empty(), "{failures}");
    assert_eq!((reports.len(), passed), (21, CASES));
}

#[test]
fn every_query_of_the_corpus_prints_back_to_itself() {
    let Some(scripts) = scripts() else { return };
    let mut queries = 0;
    for (name, script) in scripts {
        for command in parse(&script).unwrap() {
            let CommandKind::Eval(eval) = command.kind else { continue };
            let line = command.line;
            let parsed = promql::parse(&eval.expr).unwrap_or_else(|e| panic!("{name}:{line}: {e}"));
            let printed = parsed.to_string();
            let again = promql::parse(&printed).unwrap_or_else(|e| panic!("{name}:{line}: {printed}: {e}"));
            assert_eq!(again.to_string(), printed, "{name}:{line}");
            queries += 1;
        }
    }
    assert!(queries > 2000, "only {queries} queries found");
}
