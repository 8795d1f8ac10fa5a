use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::{QueryError, SelectError};

/// How long a read waits for its turn. Readers give up after a minute or two, and nobody shall wait for them then.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets a bounded number of reads be answered at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    limit: usize,
    patience: Duration,
}

impl Gate {
    /// At most `limit` at once.
    pub(crate) fn new(limit: usize) -> Gate {
        Gate { places: Arc::new(Semaphore::new(limit)), limit, patience: PATIENCE }
    }

    /// Waits for a place; it is free again when dropped.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        let place = runtime::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        place.and_then(Result::ok).ok_or_else(|| {
            QueryError::Select(SelectError::Unavailable(format!(
                "{} reads are being answered, as many as query_frontend.remote_read.concurrent_limit allows: \
                 ask again later",
                self.limit
            )))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_is_told_the_limit() {
        let gate = Gate { patience: Duration::from_millis(1), ..Gate::new(1) };
        let place = gate.enter().await.unwrap();
        let refused = gate.enter().await.unwrap_err().to_string();
        assert!(refused.contains("query_frontend.remote_read.concurrent_limit"), "{refused}");
        drop(place);
        assert!(gate.enter().await.is_ok());
    }
}
