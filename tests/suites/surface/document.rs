//! Firn's own document: what it promises is kept, and nothing is there that it does not tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use system_tests::{Cluster, ClusterOptions, Firn, FirnOptions, RawAnswer, Storage, get, seconds, send};

use super::schema::Document;
use crate::twins::Data;

const FIRN: &str = env!("CARGO_BIN_EXE_firn-under-test");

/// Operations that are always refused, or refused without a body: by path and method, with the status.
const REFUSED: [(&str, &str, u16); 13] = [
    ("/api/v1/targets/relabel_steps", "get", 400),
    ("/api/v1/scrape_pools/config", "get", 400),
    ("/api/v1/admin/tsdb/snapshot", "post", 501),
    ("/api/v1/admin/tsdb/snapshot", "put", 501),
    ("/api/v1/push", "post", 400),
    ("/api/v1/write", "post", 400),
    ("/api/v1/read", "post", 400),
    ("/v1/metrics", "post", 415),
    ("/otlp/v1/metrics", "post", 415),
    ("/api/v1/otlp/v1/metrics", "post", 415),
    // As vmagent expects it of whoever speaks none of its protocols.
    ("/api/v1/push", "get", 405),
    ("/api/v1/write", "get", 405),
    ("/log_level", "post", 400),
];

#[test]
fn firns_own_document_is_true_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = Data::new();
    let firn = Firn::start(FIRN, dir.path(), &FirnOptions::default()).unwrap();
    let options = ClusterOptions::over(Storage::Folder(dir.path().join("apart"))).with_ingesters(2);
    let apart = Cluster::start(FIRN, &dir.path().join("cluster"), &options).unwrap();
    data.push_to(&firn);
    data.push_to(&apart);
    let answer = get(&format!("{}/api/v1/openapi.yaml", firn.url()), &[]).unwrap();
    assert_eq!(answer.header("content-type"), Some("application/yaml; charset=utf-8"));
    let far = get(&format!("{}/prometheus/api/v1/openapi.yaml", apart.query), &[]).unwrap();
    assert_eq!(answer.body, far.body, "of all roles together, wherever it is asked for");
    let document = Document::parse(&answer.body);
    assert_eq!(document.root()["openapi"], "3.1.0");
    let used = references_are_good(&document);
    let n_operations = document.operations().len();
    println!("document: {n_operations} operations, {used} references");
    let wrong = [
        forgotten(&document),
        untold(&document, &data, &firn),
        // Last, since a part of it is that the process is told to leave.
        unkept(&document, &data, &firn, &apart),
    ]
    .concat();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each points to something, and each schema is used.
fn references_are_good(document: &Document) -> usize {
    let references = document.references();
    for place in &references {
        assert!(document.root().pointer(place.trim_start_matches('#')).is_some(), "{place} is not there");
    }
    for kind in ["schemas", "parameters", "responses"] {
        for name in document.root()["components"][kind].as_object().unwrap().keys() {
            assert!(references.contains(&format!("#/components/{kind}/{name}")), "{kind} {name} is not used");
        }
    }
    references.len()
}

/// Routes in the sources that are in no path of the document.
fn forgotten(document: &Document) -> Vec<String> {
    let paths: BTreeSet<&str> = document.operations().into_iter().map(|(path, ..)| path).collect();
    let is_known = |route: &str| {
        let route = route.trim_start_matches("/prometheus");
        paths.iter().any(|path| *path == route || path.ends_with(route))
    };
    let mut wrong = Vec::new();
    let mut n_routes = 0;
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        // What is below is tests.
        let text = text.split("#[cfg(test)]").next().unwrap();
        for after in text.split(".route(\"").skip(1) {
            let route = after.split('"').next().unwrap();
            n_routes += 1;
            if !is_known(route) {
                wrong.push(format!("{route} of {} is not in the document", file.display()));
            }
        }
    }
    assert!(n_routes > 60, "{n_routes} routes in the sources");
    wrong
}

fn sources() -> Vec<std::path::PathBuf> {
    fn collect(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crates");
    let mut found = Vec::new();
    for entry in fs::read_dir(crates).unwrap() {
        let source = entry.unwrap().path().join("src");
        if source.is_dir() {
            collect(&source, &mut found);
        }
    }
    found
}

/// Methods that are taken without being told.
fn untold(document: &Document, data: &Data, firn: &Firn) -> Vec<String> {
    let mut known: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, method, _) in document.operations() {
        known.entry(path).or_default().push(method);
    }
    let mut wrong = Vec::new();
    // Where there is one process there is no ring.
    for (path, known) in known.iter().filter(|(path, _)| **path != "/ring") {
        for method in
            ["get", "post", "put", "delete", "patch"].iter().filter(|method| !known.contains(method))
        {
            let status = ask(data, method, firn.url(), path).unwrap().status;
            if status != 405 {
                wrong.push(format!("{method} {path} is not in the document and is answered with {status}"));
            }
        }
    }
    wrong
}

/// Operations that are not answered as the document says, in one process and in processes apart.
fn unkept(document: &Document, data: &Data, firn: &Firn, apart: &Cluster) -> Vec<String> {
    let mut wrong = Vec::new();
    // What ends the taking of pushes comes last.
    let mut operations = document.operations();
    operations.sort_by_key(|(path, ..)| path.ends_with("/shutdown"));
    for (path, method, operation) in operations {
        for (form, base) in [("one process", firn.url().to_string()), ("apart", role(apart, path, operation))]
        {
            let asked = ask(data, method, &base, path).unwrap();
            if (form, path) == ("one process", "/ring") && asked.status == 404 {
                continue;
            }
            if let Err(e) = kept(document, operation, (path, method), &asked) {
                wrong.push(format!("{form}: {method} {path}: {e}"));
            }
        }
    }
    wrong
}

/// Who answers an operation when roles are processes of their own.
fn role(apart: &Cluster, path: &str, operation: &Value) -> String {
    let name = match operation["tags"][0].as_str().unwrap() {
        "write" => "distributor",
        "admin" => "compactor",
        _ if path.ends_with("/flush") || path.ends_with("/shutdown") => "ingester-0",
        _ if path == "/ring" => "distributor",
        _ => "query-frontend",
    };
    apart.url(name).unwrap()
}

/// The status that the document has for it, or that of a refusal; and a body of the schema.
fn kept(
    document: &Document,
    operation: &Value,
    (path, method): (&str, &str),
    asked: &RawAnswer,
) -> Result<(), String> {
    let body = String::from_utf8_lossy(&asked.body);
    let shown: String = body.chars().take(300).collect();
    let refused = REFUSED.iter().find(|(p, m, status)| (*p, *m, *status) == (path, method, asked.status));
    let is_told = operation["responses"].get(asked.status.to_string()).is_some();
    if !is_told && refused.is_none() {
        return Err(format!("{} {shown}", asked.status));
    }
    // OpenTelemetry has errors of its own.
    let is_foreign = refused.is_some() && path.ends_with("/metrics");
    let content = document.answer(operation, asked.status).filter(|_| !is_foreign);
    let Some(content) = content else { return Ok(()) };
    let header = asked.header("content-type").unwrap_or_default();
    let media_type = header.split(';').next().unwrap_or_default();
    if !content.contains_key(media_type) {
        return Err(format!("{media_type:?} is none of {:?}", content.keys().collect::<Vec<_>>()));
    }
    let Some(schema) = content.get(media_type).and_then(|content| content.get("schema")) else {
        return Ok(());
    };
    let body: Value = serde_json::from_str(&body).map_err(|e| format!("{e}: {shown}"))?;
    document.check(schema, &body, "the body")
}

/// A request that can be answered, as far as there is one.
fn ask(data: &Data, method: &str, base: &str, path: &str) -> Result<RawAnswer, String> {
    let at = seconds(data.to_ms());
    let from = seconds(data.from_ms);
    let parameters = match path {
        "/api/v1/query" => format!("query=sum(many)&time={at}&stats=all"),
        "/api/v1/query_range" => {
            format!("query=rate(latency_seconds_bucket[1m])&start={from}&end={at}&step=60&stats=all")
        }
        "/api/v1/query_exemplars" => format!("query=latency_seconds_bucket&start={from}&end={at}"),
        "/api/v1/format_query" | "/api/v1/parse_query" => "query=up".to_string(),
        "/api/v1/series" | "/api/v1/export" | "/federate" => "match[]=up".to_string(),
        "/api/v1/search/label_values" => "label=job".to_string(),
        "/api/v1/cardinality/label_values" => "label_names[]=job".to_string(),
        "/api/v1/cardinality/active_series" | "/api/v1/cardinality/active_native_histogram_metrics" => {
            "selector=up".to_string()
        }
        "/api/v1/admin/tsdb/delete_series" => "match[]=nothing".to_string(),
        _ => String::new(),
    };
    let url = format!("{base}{}", path.replace("{name}", "job"));
    let method = method.to_uppercase();
    let ask = || match method.as_str() {
        "POST" if !parameters.is_empty() => {
            let form = [("Content-Type", "application/x-www-form-urlencoded")];
            send(&method, &url, &form, parameters.as_bytes())
        }
        _ => send(&method, &format!("{url}?{parameters}"), &[], &[]),
    };
    // After a refusal that did not read the body the connection is closed, which the next request learns too late.
    ask().or_else(|_| ask())
}
