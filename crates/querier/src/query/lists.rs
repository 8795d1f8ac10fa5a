//! Lists of series, labels and exemplars: as queries, they have their turn, their time and their bytes.

use std::future::Future;
use std::sync::Arc;

use model::{ExemplarSeries, Labels, TenantIds};
use wire::{LabelsRequest, QueryError};

use super::{Inner, query_timeout};
use crate::federation::{self, Federation};

/// What is to be listed, of whom.
pub(super) struct List {
    inner: Arc<Inner>,
    tenants: TenantIds,
    request: LabelsRequest,
}

impl Inner {
    /// Lists in turn and apart: a list of a million series takes as long as a query over them.
    pub(super) async fn list<T, F>(
        self: &Arc<Inner>,
        tenants: &TenantIds,
        request: &LabelsRequest,
        list: impl FnOnce(List) -> F,
    ) -> Result<T, QueryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, QueryError>> + Send + 'static,
    {
        self.federation(tenants)?;
        let timeout = query_timeout(&federation::strictest(&self.limits, tenants));
        let request = self.bounded(tenants, request);
        let (_turn, _waited) = self.turn(tenants, timeout).await?;
        let listing = list(List { inner: Arc::clone(self), tenants: tenants.clone(), request });
        let listed = runtime::timeout(timeout, self.apart(tenants, listing)).await;
        listed.unwrap_or(Err(QueryError::Timeout("query execution")))
    }
}

impl List {
    pub(super) async fn series(self) -> Result<Vec<Labels>, QueryError> {
        Ok(self.federation().series(self.request.clone()).await?)
    }

    pub(super) async fn label_names(self) -> Result<Vec<String>, QueryError> {
        Ok(self.federation().label_names(self.request.clone()).await?)
    }

    pub(super) async fn label_values(self, name: String) -> Result<Vec<String>, QueryError> {
        Ok(self.federation().label_values(&name, self.request.clone()).await?)
    }

    pub(super) async fn exemplars(self) -> Result<Vec<ExemplarSeries>, QueryError> {
        Ok(self.federation().exemplars(self.request.clone()).await?)
    }

    fn federation(&self) -> Federation<'_> {
        Federation { source: &self.inner.source, tenants: &self.tenants }
    }
}
