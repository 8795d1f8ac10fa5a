use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Asks by GET; an error says that nobody answered.
pub fn get(url: &str, query: &[(&str, &str)]) -> Result<Answer, String> {
    let request = agent().get(url).query_pairs(query.iter().copied());
    answer(request.call())
}

/// Asks by GET for JSON; anything but a 200 is an error.
pub fn get_json(url: &str, query: &[(&str, &str)]) -> Result<Value, String> {
    let answer = get(url, query)?;
    if answer.status != 200 {
        return Err(format!("{url} answered {}: {}", answer.status, answer.body));
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

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
    let response = response.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let body = body.with_config().limit(1 << 30).read_to_string().map_err(|e| e.to_string())?;
    Ok(Answer { status, body })
}

fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(120)));
    config.build().into()
}
