//! Pushes are admitted before their bytes are read: there is a place among those in flight and room for the batch.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use runtime::MemoryPart;
use tokio::sync::Semaphore;
use tonic::body::Body;

use crate::generated::firn::ErrorDetail;
use crate::generated::firn::error_detail::Kind;
use crate::{Config, call};

/// A message and the batch that is decoded from it: the 24 bytes of a series without labels become 64.
const COPIES: u64 = 4;
const PUSH: &str = "/firn.v1.Ingester/Push";

pub(crate) struct Guard {
    pushes: Semaphore,
    memory: MemoryPart,
    max_pushes: usize,
    max_message_bytes: u64,
}

impl Guard {
    pub(crate) fn new(config: &Config, memory: MemoryPart) -> Guard {
        Guard {
            pushes: Semaphore::new(config.max_concurrent_pushes),
            memory,
            max_pushes: config.max_concurrent_pushes,
            max_message_bytes: config.max_message_bytes as u64,
        }
    }

    /// How much memory the message and its batch take, if it may come.
    fn announced(&self, request: &Request) -> Result<u64, ErrorDetail> {
        let number = |key| request.headers().get(key)?.to_str().ok()?.parse::<u64>().ok();
        let missing = || ErrorDetail::of(Kind::Invalid, format!("the push has no {}", call::MESSAGE_BYTES));
        let n_bytes = number(call::MESSAGE_BYTES).ok_or_else(missing)?;
        if n_bytes > self.max_message_bytes {
            let limit = self.max_message_bytes;
            let message =
                format!("a batch of {n_bytes} bytes is too large: rpc.max_message_bytes is {limit}");
            return Err(ErrorDetail::of(Kind::Invalid, message));
        }
        let n_label_bytes = number(call::LABEL_BYTES).unwrap_or(0);
        Ok(n_bytes.saturating_mul(COPIES).saturating_add(n_label_bytes))
    }
}

/// Lets a request through to the service, or refuses it by name.
pub(crate) async fn admit(guard: Arc<Guard>, request: Request, next: Next) -> Response {
    if request.uri().path() != PUSH {
        return next.run(request).await;
    }
    let Ok(_place) = guard.pushes.try_acquire() else {
        let limit = guard.max_pushes;
        let message = format!("too many pushes at once: rpc.max_concurrent_pushes is {limit}");
        return refused(ErrorDetail::unavailable(message));
    };
    let n_bytes = match guard.announced(&request) {
        Ok(n_bytes) => n_bytes,
        Err(detail) => return refused(detail),
    };
    match guard.memory.reserve(n_bytes) {
        Ok(_reserved) => next.run(request).await,
        // It will never fit, so that coming again is in vain.
        Err(over) if over.is_final() => refused(ErrorDetail::of(Kind::Invalid, over.to_string())),
        Err(over) => refused(ErrorDetail::unavailable(over.to_string())),
    }
}

fn refused(detail: ErrorDetail) -> Response {
    detail.into_status().into_http::<Body>().map(axum::body::Body::new)
}
