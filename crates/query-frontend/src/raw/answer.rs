use std::collections::VecDeque;

use axum::body::{Body, Bytes};
use futures::{StreamExt, stream};
use model::SeriesData;
use tokio::sync::OwnedSemaphorePermit;
use wire::QueryError;

use super::Pages;

/// Makes bytes of pages.
pub(crate) trait Encode: Send + 'static {
    /// What goes out for a page of the query with this number.
    fn page(&mut self, query: usize, series: &[SeriesData]) -> Result<Vec<u8>, QueryError>;

    /// What goes out behind the last page.
    fn end(&mut self) -> Result<Vec<u8>, QueryError> {
        Ok(Vec::new())
    }
}

/// An answer on its way: the pages of one query after the other.
pub(crate) struct Answer<E> {
    queries: VecDeque<(usize, Pages)>,
    /// `None` when the end was said.
    encoder: Option<E>,
    _place: OwnedSemaphorePermit,
}

impl<E: Encode> Answer<E> {
    pub(crate) fn new(
        queries: impl IntoIterator<Item = Pages>,
        encoder: E,
        place: OwnedSemaphorePermit,
    ) -> Answer<E> {
        Answer { queries: queries.into_iter().enumerate().collect(), encoder: Some(encoder), _place: place }
    }

    /// The body. What goes wrong before the first bytes is returned, since there is a status to say it by; what goes
    /// wrong later ends the connection in the middle, so that nobody takes a part for the whole.
    pub(crate) async fn body(mut self, what: &'static str) -> Result<Body, QueryError> {
        let Some(first) = self.next().await? else { return Ok(Body::empty()) };
        let rest = stream::try_unfold(self, move |mut answer| async move {
            let next = answer.next().await.inspect_err(|error| {
                let error = error.to_string();
                tracing::warn!(what, error, "an answer ended in the middle");
            })?;
            Ok::<_, QueryError>(next.map(|bytes| (bytes, answer)))
        });
        // Compression asks once more behind the end.
        Ok(Body::from_stream(stream::once(async { Ok(first) }).chain(rest).fuse()))
    }

    /// The next bytes, `None` behind the last.
    async fn next(&mut self) -> Result<Option<Bytes>, QueryError> {
        loop {
            let Some(mut encoder) = self.encoder.take() else { return Ok(None) };
            let Some((number, pages)) = self.queries.front_mut() else {
                let end = encoder.end()?;
                return Ok((!end.is_empty()).then(|| end.into()));
            };
            let number = *number;
            let Some(page) = pages.next().await? else {
                self.queries.pop_front();
                self.encoder = Some(encoder);
                continue;
            };
            let encoding = runtime::blocking(move || {
                let bytes = encoder.page(number, &page.series);
                (encoder, bytes)
            });
            let (encoder, bytes) = encoding.await.map_err(QueryError::Internal)?;
            self.encoder = Some(encoder);
            let bytes = bytes?;
            if !bytes.is_empty() {
                return Ok(Some(bytes.into()));
            }
        }
    }
}
