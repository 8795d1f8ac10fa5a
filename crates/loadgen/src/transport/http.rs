use anyhow::Context;
use ureq::Agent;
use ureq::http::Response;

use super::{Accepted, Outcome, rejected_points};
use crate::{Compression, Protocol};

/// Requests by POST.
pub(crate) struct Http {
    agent: Agent,
    protocol: Protocol,
}

const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

impl Http {
    pub(crate) fn new(protocol: Protocol) -> Http {
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        Http { agent, protocol }
    }

    pub(crate) fn send(
        &self,
        url: &str,
        tenant: Option<&str>,
        compression: Compression,
        body: &[u8],
    ) -> anyhow::Result<Outcome> {
        let mut request = self.agent.post(url);
        for (name, value) in headers(self.protocol) {
            request = request.header(*name, *value);
        }
        if let Some(encoding) = compression.name() {
            request = request.header("Content-Encoding", encoding);
        }
        if let Some(tenant) = tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let response = request.send(body).with_context(|| format!("push to {url}"))?;
        self.outcome(response)
    }

    fn outcome(&self, response: Response<ureq::Body>) -> anyhow::Result<Outcome> {
        let status = response.status().as_u16();
        let mut accepted = Accepted { written: written(&response), rejected: 0 };
        let body = response.into_body().read_to_vec().unwrap_or_default();
        match status {
            200..300 => {
                accepted.rejected = match self.protocol {
                    Protocol::OtlpHttp => rejected_points(&body),
                    Protocol::OtlpJson => rejected_in_json(&body),
                    _ => 0,
                };
                Ok(Outcome::Accepted(accepted))
            }
            429 | 500..600 => Ok(Outcome::Busy(reason(status, &body))),
            _ => Ok(Outcome::Refused { reason: reason(status, &body), accepted }),
        }
    }
}

/// The headers of a real sender.
fn headers(protocol: Protocol) -> &'static [(&'static str, &'static str)] {
    match protocol {
        Protocol::Rw1 => {
            &[("Content-Type", "application/x-protobuf"), ("X-Prometheus-Remote-Write-Version", "0.1.0")]
        }
        Protocol::Rw1Zstd => {
            &[("Content-Type", "application/x-protobuf"), ("X-VictoriaMetrics-Remote-Write-Version", "1")]
        }
        Protocol::Rw2 => &[
            ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("X-Prometheus-Remote-Write-Version", "2.0.0"),
        ],
        Protocol::OtlpHttp | Protocol::OtlpGrpc => &[("Content-Type", "application/x-protobuf")],
        Protocol::OtlpJson => &[("Content-Type", "application/json")],
        Protocol::Text => &[("Content-Type", "text/plain; version=0.0.4")],
    }
}

fn written(response: &Response<ureq::Body>) -> Option<[u64; 3]> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
    let counts = WRITTEN.map(header);
    counts.iter().any(Option::is_some).then(|| counts.map(|count| count.unwrap_or(0)))
}

fn rejected_in_json(body: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedDataPoints"];
    rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0)
}

fn reason(status: u16, body: &[u8]) -> String {
    format!("{status}: {}", String::from_utf8_lossy(body).trim())
}
