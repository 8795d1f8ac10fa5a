use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// Status, headers and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Status, headers and the bytes of a body as they came.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, packed if the headers say so.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// All values of a header, by its name in lower case, separated by commas.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// Asks by any method, with these headers and no others but those that HTTP needs.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<RawAnswer, String> {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = match body {
        [] => agent().run(request.body(()).map_err(|e| e.to_string())?),
        _ => agent().run(request.body(body).map_err(|e| e.to_string())?),
    };
    let response = response.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let headers = headers_of(&response);
    let body = response.into_body().into_with_config().limit(1 << 30).read_to_vec();
    Ok(RawAnswer { status, headers, body: body.map_err(|e| e.to_string())? })
}

/// Asks by GET; an error says that nobody answered.
pub fn get(url: &str, query: &[(&str, &str)]) -> Result<Answer, String> {
    get_with(url, query, &[])
}

/// Asks by GET with headers.
pub fn get_with(url: &str, query: &[(&str, &str)], headers: &[(&str, &str)]) -> Result<Answer, String> {
    let mut request = agent().get(url).query_pairs(query.iter().copied());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.call())
}

/// Asks by GET for JSON; anything but a 200 is an error.
pub fn get_json(url: &str, query: &[(&str, &str)]) -> Result<Value, String> {
    get_json_with(url, query, &[])
}

/// Asks by GET for JSON with headers; anything but a 200 is an error.
pub fn get_json_with(url: &str, query: &[(&str, &str)], headers: &[(&str, &str)]) -> Result<Value, String> {
    let answer = get_with(url, query, headers)?;
    if answer.status != 200 {
        return Err(format!("{url} {query:?} answered {}: {}", answer.status, answer.body));
    }
    serde_json::from_str(&answer.body).map_err(|e| format!("{url}: {e}"))
}

/// Sends a body by POST.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, String> {
    let mut request = agent().post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body))
}

/// Sends a form by POST, as Grafana does with queries.
pub fn post_form(url: &str, form: &[(&str, &str)]) -> Result<Answer, String> {
    answer(agent().post(url).send_form(form.iter().copied()))
}

/// Asks with a method that carries no body.
pub fn delete(url: &str) -> Result<Answer, String> {
    answer(agent().delete(url).call())
}

/// Sends a body by PUT.
pub fn put(url: &str, body: &[u8]) -> Result<Answer, String> {
    answer(agent().put(url).send(body))
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
    let response = response.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let headers = headers_of(&response);
    let body =
        response.into_body().into_with_config().limit(1 << 30).read_to_vec().map_err(|e| e.to_string())?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status, headers, body })
}

fn headers_of(response: &ureq::http::Response<ureq::Body>) -> Vec<(String, String)> {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).to_string();
    response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .max_idle_connections(64);
        config.build().into()
    })
}
