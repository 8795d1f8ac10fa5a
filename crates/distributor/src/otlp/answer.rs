//! What a sender is told: an `ExportMetricsServiceResponse`, or a `google.rpc.Status`, as protobuf or as JSON.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::labels::push_varint;
use super::receive::{Form, Taken};
use crate::answer::{Problem, Verdict, one_line, retry_after};

/// Codes of `google.rpc.Code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// A refusal of a whole request.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// Seconds after which the sender may come again; a sender that is told none drops the request.
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn of(problem: &Problem, attempt: u32, random: u64) -> Refusal {
        let verdict = problem.verdict();
        // Some senders repeat anything that is exhausted: only what passes may be called so.
        let code = match &verdict {
            Verdict::Later(StatusCode::TOO_MANY_REQUESTS, _) => Code::ResourceExhausted,
            Verdict::Later(..) => Code::Unavailable,
            Verdict::Plain(StatusCode::UNAUTHORIZED) => Code::Unauthenticated,
            Verdict::Plain(status) if status.is_server_error() => Code::Internal,
            Verdict::OtherForm => Code::Unimplemented,
            Verdict::Plain(_) | Verdict::Final(_) => Code::InvalidArgument,
        };
        let (status, retry_after) = match verdict {
            Verdict::Later(status, secs) => (status, Some(retry_after(secs, attempt, random))),
            Verdict::Final(status) | Verdict::Plain(status) => (status, None),
            Verdict::OtherForm => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
        };
        Refusal { code, status, message: one_line(&problem.to_string()), retry_after }
    }

    /// As the answer of a request over HTTP.
    pub(super) fn into_http(self, form: Form) -> Response {
        let body = match form {
            Form::Json => {
                let (code, message) = (self.code as i32, quoted(&self.message));
                format!("{{\"code\":{code},\"message\":{message}}}").into_bytes()
            }
            _ => self.to_protobuf(),
        };
        let mut response = (self.status, content_type(form), body).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }

    /// The `google.rpc.Status`, with a `RetryInfo` where the sender may come again.
    pub(super) fn to_protobuf(&self) -> Vec<u8> {
        let mut status = Vec::new();
        push_number(&mut status, 1, self.code as u64);
        push_bytes(&mut status, 2, self.message.as_bytes());
        if let Some(wait) = self.retry_after {
            let (mut delay, mut info, mut any) = (Vec::new(), Vec::new(), Vec::new());
            push_number(&mut delay, 1, wait);
            push_bytes(&mut info, 1, &delay);
            push_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
            push_bytes(&mut any, 2, &info);
            push_bytes(&mut status, 3, &any);
        }
        status
    }
}

impl Taken {
    /// As the answer of a request over HTTP.
    pub(super) fn into_http(self, form: Form) -> Response {
        let body = match form {
            Form::Json => self.to_json().into_bytes(),
            _ => self.to_protobuf(),
        };
        (StatusCode::OK, content_type(form), body).into_response()
    }

    /// The `ExportMetricsServiceResponse`.
    pub(super) fn to_protobuf(&self) -> Vec<u8> {
        let mut response = Vec::new();
        if !self.is_whole() {
            let mut partial = Vec::new();
            push_number(&mut partial, 1, self.n_rejected as u64);
            push_bytes(&mut partial, 2, one_line(&self.message).as_bytes());
            push_bytes(&mut response, 1, &partial);
        }
        response
    }

    fn to_json(&self) -> String {
        if self.is_whole() {
            return "{}".to_string();
        }
        let (n, message) = (self.n_rejected, quoted(&one_line(&self.message)));
        format!("{{\"partialSuccess\":{{\"rejectedDataPoints\":\"{n}\",\"errorMessage\":{message}}}}}")
    }

    fn is_whole(&self) -> bool {
        self.n_rejected == 0 && self.message.is_empty()
    }
}

fn content_type(form: Form) -> HeaderMap {
    let value = match form {
        Form::Protobuf => "application/x-protobuf",
        Form::Json => "application/json",
        Form::Grpc => "application/grpc",
    };
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))])
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn push_number(out: &mut Vec<u8>, field: usize, value: u64) {
    if value != 0 {
        push_varint(out, field << 3);
        push_varint(out, value as usize);
    }
}

fn push_bytes(out: &mut Vec<u8>, field: usize, bytes: &[u8]) {
    push_varint(out, field << 3 | 2);
    push_varint(out, bytes.len());
    out.extend_from_slice(bytes);
}
