use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{Classify, ErrorKind};
use server::TenantError;
use wire::{PushError, Pushed, RefusalReason};

use crate::body::{BodyError, Content, Sender, Unsupported, Version};
use crate::intake::{Counts, DecodeError};
use crate::text::LineError;

/// Why a write request is not answered with 204.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error(
        "the tenant sends more than the limits ingestion_rate of {rate} samples a second and ingestion_burst_size of {burst} allow"
    )]
    RateLimited { rate: f64, burst: f64, wait_ms: u64 },
    #[error("URL parameters: {0}")]
    Parameters(String),
    #[error(
        "the tenant has replicas in more groups than the limit ha_max_clusters of {limit} allows; the group is {cluster:?}"
    )]
    TooManyClusters { cluster: String, limit: u32 },
    /// The connection broke while the body came.
    #[error("the request body ended early: {0}")]
    Interrupted(String),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Push(#[from] PushError),
    /// Some samples were refused, the others are stored.
    #[error("{first} ({n_refused} samples refused, {n_stored} stored)")]
    Partly { first: String, n_refused: usize, n_stored: usize },
    /// Some lines could not be read, the others are stored.
    #[error("{first} ({n_lines} lines unreadable, {n_refused} samples refused, {n_stored} stored)")]
    Lines { first: LineError, n_lines: usize, n_refused: usize, n_stored: usize },
}

/// What became of a request that could be read.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What is on the log now, or was left out on purpose.
    pub(crate) written: Written,
    /// What is to be told in spite of that.
    pub(crate) problem: Option<Problem>,
    /// Whether nothing was stored since another replica sends the same.
    pub(crate) is_deduplicated: bool,
}

impl Outcome {
    /// After a remote write request.
    pub(crate) fn of_samples(pushed: &Pushed, counts: &Counts, version: Version) -> Outcome {
        let mut written = Written::of(pushed);
        // Left out as the tenant wants it: its sender is not to count that as a failure.
        written.samples += counts.left_out_floats;
        written.histograms += counts.left_out_histograms;
        written.exemplars += counts.left_out_exemplars;
        // An exemplar never fails a 1.0 request; a 2.0 request succeeds only when all of it was written.
        let is_told = |reason| version == Version::Two || reason != RefusalReason::InvalidExemplar;
        Outcome { written, problem: Problem::partly(pushed, is_told), is_deduplicated: false }
    }

    /// After a request of a replica that is not elected: it is told that all is well.
    pub(crate) fn deduplicated(counts: &Counts) -> Outcome {
        let Counts { floats: samples, histograms, exemplars, .. } = *counts;
        let written = Written { samples, histograms, exemplars };
        Outcome { written, problem: None, is_deduplicated: true }
    }

    /// After an import of text.
    pub(crate) fn of_lines(pushed: &Pushed, bad_lines: Option<(LineError, usize)>) -> Outcome {
        let partly = Problem::partly(pushed, |reason| reason != RefusalReason::InvalidExemplar);
        let problem = match bad_lines {
            None => partly,
            Some((first, n_lines)) => {
                let (n_refused, n_stored) = (pushed.n_refused(), pushed.n_samples());
                Some(Problem::Lines { first, n_lines, n_refused, n_stored })
            }
        };
        Outcome { written: Written::of(pushed), problem, is_deduplicated: false }
    }
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Outcome {
        Outcome { problem: Some(problem), ..Outcome::default() }
    }
}

impl Written {
    fn of(pushed: &Pushed) -> Written {
        Written {
            samples: pushed.n_floats as u64,
            histograms: pushed.n_histograms as u64,
            exemplars: pushed.n_exemplars as u64,
        }
    }
}

/// What a sender of remote write 2.0 is told about its request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) samples: u64,
    pub(crate) histograms: u64,
    pub(crate) exemplars: u64,
}

/// Of the request, what the answer depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) content: Content,
    /// How often the sender tried before (`Retry-Attempt`).
    pub(crate) attempt: u32,
}

/// What to do with a request, as the sender has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It will never be accepted; this is the status for those who stop at any 4xx.
    Final(StatusCode),
    /// To be sent again in another form.
    OtherForm,
    /// To be sent again after so many seconds, at first.
    Later(StatusCode, u64),
    /// As the status says, for every sender.
    Plain(StatusCode),
}

/// The most seconds that a sender is told to wait (Mimir's default).
const MAX_RETRY_AFTER: u64 = 96;
/// What a rate-limited sender is told at first (Mimir's default is 6 with jitter).
const RATE_LIMITED_RETRY: u64 = 6;
/// Prometheus keeps this much of an error body.
const MAX_MESSAGE: usize = 1024;

impl Asker {
    pub(crate) fn new(headers: &HeaderMap, content: Content) -> Asker {
        let attempt = headers.get("retry-attempt").and_then(|v| v.to_str().ok()?.trim().parse().ok());
        Asker { content, attempt: attempt.unwrap_or(0) }
    }

    /// Says how much was written to those who want to know: a sender of remote write 2.0 takes a missing header for
    /// nothing. After an error of ours it will send everything again.
    pub(crate) fn count(&self, written: Written, mut response: Response) -> Response {
        if self.content.version == Version::Two && !response.status().is_server_error() {
            for (name, n) in [
                ("x-prometheus-remote-write-samples-written", written.samples),
                ("x-prometheus-remote-write-histograms-written", written.histograms),
                ("x-prometheus-remote-write-exemplars-written", written.exemplars),
            ] {
                response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(n));
            }
        }
        response
    }

    /// The answer to a request that was not accepted whole. `random` spreads out those who are to come back.
    pub(crate) fn answer(&self, problem: &Problem, random: u64) -> Response {
        let (status, wait) = match problem.verdict() {
            Verdict::Final(status) => (self.final_status(status), None),
            Verdict::OtherForm => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
            Verdict::Later(status, secs) => (status, Some(retry_after(secs, self.attempt, random))),
            Verdict::Plain(status) => (status, None),
        };
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut response = (status, one_line(&problem.to_string())).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }

    /// The status at which this sender drops the request.
    fn final_status(&self, status: StatusCode) -> StatusCode {
        match self.content.sender {
            Sender::Standard => status,
            Sender::Vmagent => StatusCode::BAD_REQUEST,
            Sender::VmagentZstd => StatusCode::CONFLICT,
        }
    }
}

impl Problem {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Problem::Tenant(e) => Verdict::Plain(e.status()),
            Problem::Unsupported(_)
            | Problem::Decode(DecodeError::NotVersion1 | DecodeError::NotVersion2) => Verdict::OtherForm,
            Problem::RateLimited { wait_ms, .. } => {
                Verdict::Later(StatusCode::TOO_MANY_REQUESTS, wait_ms.div_ceil(1000).max(RATE_LIMITED_RETRY))
            }
            Problem::Body(BodyError::TooLarge { .. }) => Verdict::Final(StatusCode::PAYLOAD_TOO_LARGE),
            Problem::Body(BodyError::OverBudget(over)) | Problem::Decode(DecodeError::OverBudget(over)) => {
                match over.is_final() {
                    true => Verdict::Final(StatusCode::PAYLOAD_TOO_LARGE),
                    false => Verdict::Later(StatusCode::SERVICE_UNAVAILABLE, 1),
                }
            }
            Problem::Interrupted(_) => Verdict::Later(StatusCode::SERVICE_UNAVAILABLE, 1),
            Problem::Push(PushError::Unavailable { retry_after_secs, .. }) => {
                Verdict::Later(StatusCode::SERVICE_UNAVAILABLE, *retry_after_secs)
            }
            Problem::Push(e) if e.kind() != ErrorKind::Invalid => {
                Verdict::Plain(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Problem::Parameters(_)
            | Problem::TooManyClusters { .. }
            | Problem::Push(_)
            | Problem::Body(_)
            | Problem::Decode(_)
            | Problem::Partly { .. }
            | Problem::Lines { .. } => Verdict::Final(StatusCode::BAD_REQUEST),
        }
    }

    /// The reason why a request was refused whole, as a label value; `None` when part of it was stored.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        Some(match self {
            Problem::Tenant(_) => "tenant",
            Problem::Unsupported(_)
            | Problem::Decode(DecodeError::NotVersion1 | DecodeError::NotVersion2) => "unsupported",
            Problem::RateLimited { .. } => "rate_limited",
            Problem::Parameters(_) => "parameters",
            Problem::TooManyClusters { .. } => "ha_max_clusters",
            Problem::Interrupted(_) => "interrupted",
            Problem::Body(BodyError::TooLarge { .. } | BodyError::Inflates { .. })
            | Problem::Decode(DecodeError::Expands { .. }) => "too_large",
            Problem::Body(BodyError::OverBudget(_)) | Problem::Decode(DecodeError::OverBudget(_)) => "memory",
            Problem::Body(_) | Problem::Decode(DecodeError::Malformed(_) | DecodeError::Json(_)) => {
                "malformed"
            }
            Problem::Push(PushError::Unavailable { .. }) => "unavailable",
            Problem::Push(PushError::Invalid(_)) => "invalid",
            Problem::Push(PushError::Internal(_)) => "internal",
            Problem::Partly { .. } | Problem::Lines { .. } => return None,
        })
    }

    /// What is to be told after a push, if it refused something for a reason that `counts`.
    fn partly(pushed: &Pushed, counts: impl Fn(RefusalReason) -> bool) -> Option<Problem> {
        let first = pushed.refused.iter().find(|refusal| counts(refusal.reason))?;
        let (n_refused, n_stored) = (pushed.n_refused(), pushed.n_samples());
        Some(Problem::Partly { first: first.message.clone(), n_refused, n_stored })
    }
}

/// Seconds to wait: doubled with each attempt, spread by half to either side, within bounds.
pub(crate) fn retry_after(first: u64, attempt: u32, random: u64) -> u64 {
    let doubled = first.max(1).saturating_mul(1 << attempt.min(10)).min(MAX_RETRY_AFTER);
    let jitter = 0.5 + (random >> 11) as f64 / (1u64 << 53) as f64;
    ((doubled as f64 * jitter).round() as u64).clamp(1, MAX_RETRY_AFTER)
}

pub(crate) fn one_line(message: &str) -> String {
    let mut line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(MAX_MESSAGE));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_with_each_attempt_up_to_the_cap() {
        let middle = 1 << 63;
        let waits: Vec<u64> = (0..7).map(|attempt| retry_after(6, attempt, middle)).collect();
        assert_eq!(waits, [6, 12, 24, 48, 96, 96, 96]);
        for attempt in [0, 3, u32::MAX] {
            let (low, high) = (retry_after(6, attempt, 0), retry_after(6, attempt, u64::MAX));
            assert!(low >= 3 && high <= 96 && low < high, "{low} {high}");
        }
        assert_eq!(retry_after(0, 0, 0), 1);
    }

    #[test]
    fn a_message_is_one_line_of_at_most_1024_bytes() {
        assert_eq!(one_line("a\nb\r\n\tc"), "a b   c");
        assert_eq!(one_line(&"ä".repeat(1000)).len(), 1024);
    }

    #[test]
    fn each_sender_is_told_to_drop_in_its_own_dialect() {
        let too_large = || Problem::Body(BodyError::TooLarge { limit: 1 });
        let partly = || Problem::Partly { first: "x".to_string(), n_refused: 1, n_stored: 1 };
        for (sender, problem, status) in [
            (Sender::Standard, too_large(), 413),
            (Sender::Vmagent, too_large(), 400),
            (Sender::VmagentZstd, too_large(), 409),
            (Sender::Standard, partly(), 400),
            (Sender::Vmagent, partly(), 400),
            (Sender::VmagentZstd, partly(), 409),
        ] {
            let content = Content { sender, version: Version::One };
            let answer = Asker { content, attempt: 0 }.answer(&problem, 0);
            assert_eq!(answer.status(), status, "{sender:?} {problem:?}");
            assert!(!answer.headers().contains_key(header::RETRY_AFTER));
        }
    }
}
