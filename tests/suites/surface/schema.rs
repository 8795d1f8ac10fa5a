//! Documents in OpenAPI, and whether JSON is what their schemas say: as much of JSON Schema as the documents of
//! Prometheus and Firn use. A word that is not known here fails the test.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A document.
pub(super) struct Document(Value);

/// Methods as OpenAPI writes them.
pub(super) const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// Words of a schema that say nothing about a value.
const NOTES: [&str; 7] =
    ["description", "example", "examples", "format", "title", "default", "contentMediaType"];

impl Document {
    pub(super) fn parse(text: &str) -> Document {
        Document(serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("the document is no YAML: {e}")))
    }

    pub(super) fn root(&self) -> &Value {
        &self.0
    }

    /// Every path and method with what the document says of it.
    pub(super) fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let mut all = Vec::new();
        for (path, operations) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                assert!(METHODS.contains(&method.as_str()), "{path} {method}");
                all.push((path.as_str(), method.as_str(), operation));
            }
        }
        all
    }

    /// All places that references point to, which must be there.
    pub(super) fn references(&self) -> BTreeSet<String> {
        fn collect(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(map) => {
                    if let Some(place) = map.get("$ref").and_then(Value::as_str) {
                        found.insert(place.to_string());
                    }
                    map.values().for_each(|value| collect(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
                _ => {}
            }
        }
        let mut found = BTreeSet::new();
        collect(&self.0, &mut found);
        found
    }

    /// What a reference points to, or the value itself.
    pub(super) fn resolve<'v>(&'v self, value: &'v Value) -> &'v Value {
        let Some(place) = value.get("$ref").and_then(Value::as_str) else { return value };
        let found = self.0.pointer(place.trim_start_matches('#'));
        self.resolve(found.unwrap_or_else(|| panic!("{place} is not in the document")))
    }

    /// What an operation answers with this status: by media type.
    pub(super) fn answer<'v>(&'v self, operation: &'v Value, status: u16) -> Option<&'v Map<String, Value>> {
        let answers = &operation["responses"];
        let answer = answers.get(status.to_string()).or_else(|| answers.get("default"))?;
        self.resolve(answer).get("content").and_then(Value::as_object)
    }

    /// Whether a value is what a schema says; `Err` says where not.
    pub(super) fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = self.resolve(schema);
        let Some(rules) = schema.as_object() else { return Ok(()) };
        for (word, rule) in rules {
            if !NOTES.contains(&word.as_str()) {
                self.check_word(rules, word, rule, value, at)?;
            }
        }
        Ok(())
    }

    fn check_word(
        &self,
        rules: &Map<String, Value>,
        word: &str,
        rule: &Value,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let wrong = |what: &str| {
            let shown: String = value.to_string().chars().take(200).collect();
            Err(format!("{at} is {shown}, {what} {rule}"))
        };
        match word {
            "type" if !is_of_type(rule, value) => wrong("not of type"),
            "const" if rule != value => wrong("not"),
            "enum" if !rule.as_array().unwrap().contains(value) => wrong("none of"),
            "required" => match rule.as_array().unwrap().iter().find(|key| {
                value.as_object().is_some_and(|object| !object.contains_key(key.as_str().unwrap()))
            }) {
                Some(key) => wrong(&format!("without {key} of")),
                None => Ok(()),
            },
            "minimum" if value.as_f64().is_some_and(|n| n < rule.as_f64().unwrap()) => wrong("less than"),
            "minItems" if value.as_array().is_some_and(|list| list.len() < size(rule)) => wrong("fewer than"),
            "maxItems" if value.as_array().is_some_and(|list| list.len() > size(rule)) => wrong("more than"),
            "properties" => self.check_properties(rule, value, at),
            "additionalProperties" => self.check_others(rules, rule, value, at),
            "items" => self.check_items(rules, rule, value, at),
            "prefixItems" => {
                let pairs = rule.as_array().unwrap().iter().zip(value.as_array().into_iter().flatten());
                pairs
                    .enumerate()
                    .try_for_each(|(i, (rule, item))| self.check(rule, item, &format!("{at}[{i}]")))
            }
            "oneOf" | "anyOf" => {
                let tried: Vec<Result<(), String>> =
                    rule.as_array().unwrap().iter().map(|one| self.check(one, value, at)).collect();
                let n_fits = tried.iter().filter(|outcome| outcome.is_ok()).count();
                match n_fits == 1 || (word == "anyOf" && n_fits > 0) {
                    true => Ok(()),
                    false => Err(format!("{at} fits {n_fits} of {}: {tried:?}", tried.len())),
                }
            }
            "type" | "const" | "enum" | "minimum" | "minItems" | "maxItems" => Ok(()),
            other => panic!("the word {other:?} of a schema is not known here"),
        }
    }

    fn check_properties(&self, rule: &Value, value: &Value, at: &str) -> Result<(), String> {
        for (key, rule) in rule.as_object().unwrap() {
            if let Some(inner) = value.get(key) {
                self.check(rule, inner, &format!("{at}.{key}"))?;
            }
        }
        Ok(())
    }

    fn check_others(
        &self,
        rules: &Map<String, Value>,
        rule: &Value,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let is_known = |key: &str| rules.get("properties").is_some_and(|known| known.get(key).is_some());
        for (key, inner) in value.as_object().into_iter().flatten().filter(|(key, _)| !is_known(key)) {
            match rule {
                Value::Bool(false) => return Err(format!("{at} has {key:?}, which is not described")),
                Value::Bool(true) => {}
                rule => self.check(rule, inner, &format!("{at}.{key}"))?,
            }
        }
        Ok(())
    }

    fn check_items(
        &self,
        rules: &Map<String, Value>,
        rule: &Value,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let n_before = rules.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
        let items = value.as_array().into_iter().flatten().enumerate().skip(n_before);
        items.into_iter().try_for_each(|(i, item)| self.check(rule, item, &format!("{at}[{i}]")))
    }
}

fn is_of_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other:?} is no type"),
    };
    match rule {
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        name => is(name.as_str().unwrap()),
    }
}

fn size(rule: &Value) -> usize {
    rule.as_u64().unwrap() as usize
}

#[test]
fn a_value_that_is_not_what_its_schema_says_is_told() {
    let document = Document::parse(
        "components: {schemas: {Pair: {type: array, prefixItems: [{type: number}, {type: string}], maxItems: 2}}}",
    );
    let fits = |schema: &str, value: &str| {
        let schema: Value = serde_saphyr::from_str(schema).unwrap();
        document.check(&schema, &serde_json::from_str(value).unwrap(), "value").is_ok()
    };
    let pairs = "{type: array, items: {$ref: '#/components/schemas/Pair'}}";
    assert!(fits(pairs, r#"[[1, "x"], [2.5, ""]]"#));
    assert!(!fits(pairs, r#"[["x", 1]]"#) && !fits(pairs, r#"[[1, "x", 2]]"#) && !fits(pairs, "{}"));
    let object = "{type: object, required: [a], additionalProperties: false, properties: {a: {const: 1}, b: {type: [string, 'null']}}}";
    assert!(fits(object, r#"{"a": 1}"#) && fits(object, r#"{"a": 1, "b": null}"#));
    for wrong in [r#"{}"#, r#"{"a": 2}"#, r#"{"a": 1, "b": 3}"#, r#"{"a": 1, "c": 1}"#, "1"] {
        assert!(!fits(object, wrong), "{wrong}");
    }
    assert!(fits("{oneOf: [{type: integer}, {type: string}]}", "1"));
    assert!(!fits("{oneOf: [{type: integer}, {type: number}]}", "1"));
    assert!(fits("{type: object, additionalProperties: {type: boolean}}", r#"{"x": true}"#));
    assert!(!fits("{type: object, additionalProperties: {type: boolean}}", r#"{"x": 1}"#));
}
