//! `/openapi.yaml`: what can be asked of Firn, all roles together, in OpenAPI 3.1. Written from the table in
//! `operations.rs`; a test asks a running Firn for everything that the document promises, and looks through the sources
//! for routes that it forgets.

mod operations;
mod parameters;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};

use self::operations::{ALL, Answer, Operation, TAGS};
use self::parameters::Kind;

/// Schemas of answers.
const SCHEMAS: &str = include_str!("schemas.yaml");

static DOCUMENT: LazyLock<String> = LazyLock::new(document);

const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("application/yaml; charset=utf-8")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate")),
];

/// `/openapi.yaml`. Clients of Prometheus may ask for `openapi_version=3.2`; like there, what is not had is answered with
/// 3.1.
pub(crate) async fn openapi() -> ([(HeaderName, HeaderValue); 2], &'static str) {
    (HEADERS, DOCUMENT.as_str())
}

/// Lines of YAML.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn put(&mut self, depth: usize, line: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _written = writeln!(self.text, "{:1$}{line}", "", 2 * depth);
    }
}

fn document() -> String {
    let mut out = Lines::default();
    out.put(0, "openapi: 3.1.0");
    out.put(0, "info:");
    out.put(1, "title: Firn");
    out.put(1, "description: A telemetry store that speaks the HTTP API of Prometheus.");
    out.put(1, format_args!("version: {}", env!("CARGO_PKG_VERSION")));
    out.put(0, "servers:");
    out.put(1, "- url: /");
    out.put(2, "description: Paths below /api/v1 are also there below /prometheus/api/v1.");
    out.put(0, "tags:");
    for (name, description) in TAGS {
        out.put(1, format_args!("- name: {name}"));
        out.put(2, format_args!("description: {}", quoted(description)));
    }
    out.put(0, "paths:");
    let mut path = "";
    for operation in ALL.iter().flat_map(|part| part.iter()) {
        if operation.path != path {
            path = operation.path;
            out.put(1, format_args!("{path}:"));
        }
        for method in operation.methods.split(' ') {
            put_operation(&mut out, operation, method);
        }
    }
    put_components(&mut out);
    out.text
}

fn put_operation(out: &mut Lines, operation: &Operation, method: &str) {
    out.put(2, format_args!("{method}:"));
    out.put(3, format_args!("tags: [{}]", operation.tag));
    out.put(3, format_args!("summary: {}", quoted(operation.summary)));
    out.put(3, format_args!("operationId: {}", id(method, operation.path)));
    let shown = in_url(operation, method);
    let tenant = operation.is_of_tenant().then_some("tenant");
    if !shown.is_empty() || tenant.is_some() {
        out.put(3, "parameters:");
    }
    for name in tenant.into_iter().chain(shown.iter().copied()) {
        out.put(4, format_args!("- $ref: '#/components/parameters/{}'", parameters::key(name)));
    }
    match operation.takes {
        "" => put_form(out, operation.params.iter().copied().filter(|name| !shown.contains(name))),
        media_type => put_body(out, media_type),
    }
    put_answers(out, operation.answer);
}

/// Parameters of the address. What has no other body takes the others as a form.
fn in_url(operation: &Operation, method: &str) -> Vec<&'static str> {
    let is_form = method != "get" && operation.takes.is_empty();
    let is_in_path = |name: &str| operation.path.contains(&format!("{{{name}}}"));
    operation.params.iter().copied().filter(|name| !is_form || is_in_path(name)).collect()
}

fn put_body(out: &mut Lines, media_type: &str) {
    out.put(3, "requestBody:");
    out.put(4, "required: true");
    out.put(4, "content:");
    for media_type in media_type.split(' ') {
        out.put(5, format_args!("{media_type}: {{}}"));
    }
}

fn put_form(out: &mut Lines, names: impl Iterator<Item = &'static str>) {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return;
    }
    out.put(3, "requestBody:");
    out.put(4, "content:");
    out.put(5, "application/x-www-form-urlencoded:");
    out.put(6, "schema:");
    out.put(7, "type: object");
    out.put(7, "properties:");
    for name in names {
        let (_, kind, _) = parameters::of(name);
        out.put(8, format_args!("{name}: {{$ref: '#/components/schemas/{}'}}", kind.schema()));
    }
}

fn put_answers(out: &mut Lines, answer: Answer) {
    out.put(3, "responses:");
    let status = if let Answer::Nothing(status) = answer { status } else { 200 };
    out.put(4, format_args!("\"{status}\":"));
    match answer {
        Answer::Nothing(_) => out.put(5, "description: Done; there is nothing to say."),
        Answer::Bytes(media_types) => {
            out.put(5, "description: Success.");
            out.put(5, "content:");
            media_types.split(' ').for_each(|media_type| out.put(6, format_args!("{media_type}: {{}}")));
        }
        Answer::Json(schema) => {
            put_json(out);
            out.put(8, format_args!("$ref: '#/components/schemas/{schema}'"));
        }
        Answer::Data(schema) => {
            put_json(out);
            out.put(8, "type: object");
            out.put(8, "required: [status, data]");
            out.put(8, "additionalProperties: false");
            out.put(8, "properties:");
            out.put(9, "status: {const: success}");
            out.put(9, format_args!("data: {{$ref: '#/components/schemas/{schema}'}}"));
            out.put(9, "warnings: {$ref: '#/components/schemas/Notes'}");
            out.put(9, "infos: {$ref: '#/components/schemas/Notes'}");
        }
    }
    out.put(4, "default: {$ref: '#/components/responses/Error'}");
}

fn put_json(out: &mut Lines) {
    out.put(5, "description: Success.");
    out.put(5, "content:");
    out.put(6, "application/json:");
    out.put(7, "schema:");
}

fn put_components(out: &mut Lines) {
    out.put(0, "components:");
    out.put(1, "responses:");
    out.put(2, "Error:");
    out.put(3, "description: What went wrong. Routes that are not of Prometheus's JSON say it as text.");
    out.put(3, "content:");
    out.put(4, "application/json:");
    out.put(5, "schema: {$ref: '#/components/schemas/Error'}");
    out.put(4, "text/plain: {}");
    out.put(1, "parameters:");
    put_tenant(out);
    let operations = ALL.iter().flat_map(|part| part.iter());
    let by_method = operations.flat_map(|one| one.methods.split(' ').map(move |method| (one, method)));
    let names: BTreeSet<&str> = by_method.flat_map(|(one, method)| in_url(one, method)).collect();
    for name in names {
        let (name, kind, description) = parameters::of(name);
        let is_in_path = name == "name";
        out.put(2, format_args!("{}:", parameters::key(name)));
        out.put(3, format_args!("name: {name}"));
        out.put(3, format_args!("in: {}", if is_in_path { "path" } else { "query" }));
        out.put(3, format_args!("required: {is_in_path}"));
        out.put(3, format_args!("description: {}", quoted(description)));
        out.put(3, format_args!("schema: {{$ref: '#/components/schemas/{}'}}", kind.schema()));
    }
    out.put(1, "schemas:");
    for kind in Kind::ALL {
        out.put(2, format_args!("{}: {}", kind.schema(), kind.form()));
    }
    SCHEMAS.lines().filter(|line| !line.is_empty()).for_each(|line| out.put(2, line));
}

fn put_tenant(out: &mut Lines) {
    out.put(2, "tenant:");
    out.put(3, "name: X-Scope-OrgID");
    out.put(3, "in: header");
    out.put(3, "required: false");
    let description =
        "The tenant; of queries, several with | between them. Needed where multitenancy_enabled is set.";
    out.put(3, format_args!("description: {}", quoted(description)));
    out.put(3, "schema: {type: string}");
}

/// Unique, and a name in most languages.
fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let words: String = words.map(capital).collect();
    // Two paths differ in a character that no name has.
    let mark = if path.starts_with("/-/") { "Probe" } else { "" };
    format!("{method}{words}{mark}")
}

/// Every text of JSON is one of YAML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_an_id_of_its_own_and_a_tag_that_is_explained() {
        let mut ids = BTreeSet::new();
        for operation in ALL.iter().flat_map(|part| part.iter()) {
            assert!(TAGS.iter().any(|(name, _)| *name == operation.tag), "{}", operation.path);
            for method in operation.methods.split(' ') {
                assert!(ids.insert(id(method, operation.path)), "{method} {}", operation.path);
            }
        }
        assert!(ids.len() > 80, "{}", ids.len());
    }
}
