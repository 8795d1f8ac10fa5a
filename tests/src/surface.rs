use std::collections::BTreeMap;

use serde_json::Value;

use crate::http::{self, Answer};
use crate::remote_write::WriteRequest;

/// Where a Firn is reached, whether it is one process or several.
#[derive(Debug, Clone)]
pub struct Surface {
    /// Who takes pushes, `http://host:port`.
    pub push: String,
    /// Who answers queries.
    pub query: String,
    /// Who flushes: each ingester.
    pub ingesters: Vec<String>,
}

/// Raw samples as a query shows them: by series, timestamp and bits. Of a histogram, the bits of its count.
pub type Samples = BTreeMap<String, Vec<(i64, u64)>>;

impl Surface {
    /// Everything at one address.
    pub fn of_one(url: &str) -> Surface {
        Surface { push: url.to_string(), query: url.to_string(), ingesters: vec![url.to_string()] }
    }

    /// Pushes lines in Prometheus's text format.
    pub fn import(&self, text: &str) -> Result<Answer, String> {
        http::post(&format!("{}/api/v1/import/prometheus", self.push), &[], text.as_bytes())
    }

    /// Pushes by remote write, as Prometheus does.
    pub fn push(&self, request: &WriteRequest) -> Result<Answer, String> {
        push(&self.push, None, request)
    }

    /// Pushes by remote write as this tenant.
    pub fn push_as(&self, tenant: &str, request: &WriteRequest) -> Result<Answer, String> {
        push(&self.push, Some(tenant), request)
    }

    /// Sends bytes to the remote write endpoint with the headers of a remote write.
    pub fn push_bytes(&self, bytes: &[u8]) -> Result<Answer, String> {
        let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
        http::post(&format!("{}/api/v1/push", self.push), &headers, bytes)
    }

    /// Flushes everything into the tables: the first answer that is not good, or the last one.
    pub fn flush(&self) -> Result<Answer, String> {
        let mut last = Err("there is no ingester".to_string());
        for ingester in &self.ingesters {
            last = flush(ingester);
            if !last.as_ref().is_ok_and(|answer| answer.status < 300) {
                break;
            }
        }
        last
    }

    /// Flushes, which must succeed.
    pub fn flush_all(&self) -> Result<(), String> {
        match self.flush()? {
            answer if (200..300).contains(&answer.status) => Ok(()),
            answer => Err(format!("/flush answered {}: {}", answer.status, answer.body)),
        }
    }

    /// `/api/v1/query`: the result.
    pub fn query(&self, query: &str, at: &str) -> Result<Value, String> {
        let url = format!("{}/api/v1/query", self.query);
        let answer = http::get_json(&url, &[("query", query), ("time", at)])?;
        Ok(answer["data"]["result"].clone())
    }

    /// The single number that a query answers.
    pub fn number(&self, query: &str, at: &str) -> Result<f64, String> {
        let result = self.query(query, at)?;
        let text = result[0]["value"][1].as_str();
        text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{query} answered {result}"))
    }

    /// The raw samples of a selector, from `from_ms` to `to_ms`, both included.
    pub fn samples(&self, selector: &str, from_ms: i64, to_ms: i64) -> Result<Samples, String> {
        let range = to_ms - from_ms + 1;
        let result = self.query(&format!("{selector}[{range}ms]"), &seconds(to_ms))?;
        let mut samples = Samples::new();
        for series in result.as_array().into_iter().flatten() {
            let labels: BTreeMap<String, Value> =
                serde_json::from_value(series["metric"].clone()).map_err(|e| e.to_string())?;
            let list = samples.entry(serde_json::to_string(&labels).unwrap_or_default()).or_default();
            for pair in series["values"].as_array().into_iter().flatten() {
                list.push((millis(&pair[0])?, parse(&pair[1])?));
            }
            for pair in series["histograms"].as_array().into_iter().flatten() {
                list.push((millis(&pair[0])?, parse(&pair[1]["count"])?));
            }
            list.sort_unstable();
        }
        Ok(samples)
    }
}

/// Pushes by remote write to the Firn at `url`.
pub fn push(url: &str, tenant: Option<&str>, request: &WriteRequest) -> Result<Answer, String> {
    let mut headers = vec![
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ("User-Agent", "Prometheus/3.15.0"),
    ];
    headers.extend(tenant.map(|tenant| ("X-Scope-OrgID", tenant)));
    http::post(&format!("{url}/api/v1/push"), &headers, &request.snappy())
}

/// Flushes the Firn at `url`.
pub fn flush(url: &str) -> Result<Answer, String> {
    http::post(&format!("{url}/flush"), &[], &[])
}

/// The sum of all series of one of the metrics of the process at `url`, by the name in the exposition; `None` when
/// there is none.
pub fn metric(url: &str, name: &str) -> Result<Option<f64>, String> {
    let text = http::get(&format!("{url}/metrics"), &[])?.body;
    let mut sum = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        if series.split('{').next() == Some(name) {
            *sum.get_or_insert(0.0) += value.parse::<f64>().unwrap_or(f64::NAN);
        }
    }
    Ok(sum)
}

/// Milliseconds as the API takes times.
pub fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

fn millis(value: &Value) -> Result<i64, String> {
    let secs = value.as_f64().ok_or_else(|| format!("{value} is no time"))?;
    Ok((secs * 1000.0).round() as i64)
}

fn parse(value: &Value) -> Result<u64, String> {
    let number: Option<f64> = value.as_str().and_then(|text| text.parse().ok());
    number.map(f64::to_bits).ok_or_else(|| format!("{value} is no number"))
}
