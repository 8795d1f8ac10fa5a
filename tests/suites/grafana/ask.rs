//! A request, as a client of Prometheus's API makes it.

use system_tests::send;

use super::compare::Reply;
use super::rules::Rule;

/// What Grafana's data source sends with a panel's query, beside what HTTP needs.
const PANEL_HEADERS: [(&str, &str); 6] = [
    ("User-Agent", "Grafana/12.3.0"),
    ("X-Dashboard-Uid", "shop-overview"),
    ("X-Panel-Id", "7"),
    ("X-Datasource-Uid", "firn"),
    ("X-Grafana-Org-Id", "1"),
    ("Accept-Encoding", "gzip"),
];

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    method: &'static str,
    /// Below `/api/v1`, percent-encoded.
    path: String,
    /// In the URL.
    query: Vec<(String, String)>,
    /// In the body.
    form: Vec<(String, String)>,
    headers: Vec<(&'static str, String)>,
    /// Whether the order of an instant vector counts.
    pub(super) ordered: bool,
    /// Why the answers cannot be equal.
    pub(super) rule: Option<&'static Rule>,
}

/// A request by GET, as the data source makes it when it is set so.
pub(super) fn get(path: &str, parameters: &[(&str, &str)]) -> Ask {
    Ask {
        method: "GET",
        path: path.to_string(),
        query: owned(parameters),
        form: Vec::new(),
        headers: PANEL_HEADERS.iter().map(|(name, value)| (*name, value.to_string())).collect(),
        ordered: false,
        rule: None,
    }
}

/// A request by POST, as the data source makes it otherwise.
pub(super) fn form(path: &str, parameters: &[(&str, &str)]) -> Ask {
    let ask = Ask { form: owned(parameters), ..get(path, &[]).by("POST") };
    ask.with("Content-Type", "application/x-www-form-urlencoded")
}

/// Both.
pub(super) fn both(path: &str, parameters: &[(&str, &str)]) -> Vec<Ask> {
    vec![form(path, parameters), get(path, parameters)]
}

impl Ask {
    pub(super) fn by(mut self, method: &'static str) -> Ask {
        self.method = method;
        self
    }

    /// With this header, instead of one of the same name.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Ask {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_string()));
        self
    }

    /// Without any header but those that HTTP needs.
    pub(super) fn bare(mut self) -> Ask {
        self.headers.clear();
        self
    }

    /// With parameters in the URL beside those of the form.
    pub(super) fn with_query(mut self, parameters: &[(&str, &str)]) -> Ask {
        self.query = owned(parameters);
        self
    }

    pub(super) fn ordered(mut self) -> Ask {
        self.ordered = true;
        self
    }

    pub(super) fn except(mut self, rule: &'static Rule) -> Ask {
        self.rule = Some(rule);
        self
    }

    /// Asks the server whose API is at `url`.
    pub(super) fn ask(&self, url: &str) -> Result<Reply, String> {
        let mut target = format!("{url}/{}", self.path);
        if !self.query.is_empty() {
            target = format!("{target}?{}", encoded(&self.query));
        }
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Reply::new(send(self.method, &target, &headers, encoded(&self.form).as_bytes())?)
    }

    /// As a line of a report.
    pub(super) fn shown(&self) -> String {
        let parameters = self.query.iter().chain(&self.form);
        let parameters: Vec<String> = parameters
            .map(|(name, value)| format!("{name}={}", value.chars().take(80).collect::<String>()))
            .collect();
        format!("{} {} {}", self.method, self.path, parameters.join(" "))
    }
}

fn owned(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
    parameters.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// As Go's `url.Values` encodes them.
fn encoded(parameters: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        escape(&mut text, name);
        text.push('=');
        escape(&mut text, value);
    }
    text
}

fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}
