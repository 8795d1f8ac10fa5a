use serde_json::{Map, Value, json};

/// What a run found out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    entries: Map<String, Value>,
}

impl Report {
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.entries.insert(key.to_string(), value.into());
    }

    /// A number with as many decimals as can be trusted.
    pub(crate) fn set_rounded(&mut self, key: &str, value: f64) {
        self.set(key, json!((value * 1000.0).round() / 1000.0));
    }

    /// Prints a line per figure, or JSON.
    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", Value::Object(self.entries.clone()));
            return;
        }
        for (key, value) in &self.entries {
            println!("{key:<34} {value}");
        }
    }
}
