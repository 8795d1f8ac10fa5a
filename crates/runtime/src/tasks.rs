use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;

/// Starts a task.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Runs blocking or long computing work off the async threads. A panic in `work` comes back as an error.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let task = tokio::task::spawn_blocking(work);
    task.await.map_err(|e| {
        if e.is_panic() { "a task panicked".to_string() } else { "a task was canceled".to_string() }
    })
}

/// How many tasks there are.
pub fn n_tasks() -> usize {
    tokio::runtime::Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks())
}

/// Waits.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Lets others have their turn.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}

/// Waits for `future` where [`blocking`] work needs it. Not for async tasks: it would block their thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Handle::current().block_on(future)
}

/// Waits for `future`, at most for `limit`; `None` says that it took longer.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}
