//! Selects apart from the threads that serve everybody.

use std::future::Future;
use std::sync::Arc;

use futures::future::{Either, select};
use model::TenantIds;
use runtime::TraceContext;
use tokio::sync::oneshot;
use wire::QueryError;

use super::{Counted, Inner};
use crate::processors::Paced;

impl Inner {
    /// Selects on a thread of its own, with a processor whenever it computes: to go through the series of a large select
    /// and to merge them takes its time. Ends when nobody waits any more.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        tenants: &TenantIds,
        selecting: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<T, QueryError> {
        let (processors, tenant) = (Arc::clone(&self.processors), Arc::from(tenants.to_string()));
        let trace = TraceContext::current();
        // Dropped with this future: then nobody wants the answer any more.
        let (_waits, unwanted) = oneshot::channel::<()>();
        let computing = Counted::of(&self.metrics.computing);
        let work = move || {
            let _computing = computing;
            let paced = Paced::new(selecting, &processors, &tenant);
            let selecting = async {
                match select(paced, unwanted).await {
                    Either::Left((selected, _)) => selected,
                    Either::Right(_) => Err(QueryError::Canceled),
                }
            };
            match trace {
                Some(trace) => runtime::wait(trace.scope(selecting)),
                None => runtime::wait(selecting),
            }
        };
        runtime::blocking(work).await.map_err(QueryError::Internal)?
    }
}
