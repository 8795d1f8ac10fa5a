use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinHandle;

use crate::{Shutdown, ShutdownHandle, tasks};

/// Something that lives until it is told to return.
pub trait Service: Send + 'static {
    /// Its name in logs and on `/services`.
    const NAME: &'static str;

    /// Why it could not go on.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Lives; returns soon after `shutdown` says so, with everything safe.
    fn run(self, shutdown: Shutdown) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Starts services and stops them in reverse order.
#[derive(Debug, Default)]
pub struct Supervisor {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    shutdown: ShutdownHandle,
    task: JoinHandle<Result<(), String>>,
}

/// Why the process stops other than by being told.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A service ended by itself.
    #[error("service {name} ended: {reason}")]
    Ended {
        /// Which.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// Services did not return within the grace period.
    #[error("services still running after the grace period of {grace:?}: {names}")]
    GraceExceeded {
        /// The period.
        grace: Duration,
        /// Which services.
        names: String,
    },
}

impl Supervisor {
    /// Starts a service; it stops before all that were started earlier.
    pub fn start<S: Service>(&mut self, service: S) {
        let (handle, shutdown) = Shutdown::new();
        let run = async move { service.run(shutdown).await.map_err(|e| e.to_string()) };
        self.running.push(Running { name: S::NAME, shutdown: handle, task: tasks::spawn(run) });
    }

    /// The names of the services that were started.
    pub fn names(&self) -> Vec<&'static str> {
        self.running.iter().map(|running| running.name).collect()
    }

    /// Lives until `signal` or until a service ends, then stops all within `grace`.
    pub async fn run(mut self, signal: impl Future<Output = ()>, grace: Duration) -> Result<(), Stopped> {
        let ended = self.first_end_or(signal).await;
        let stopped = self.stop(grace).await;
        match ended {
            Some(reason) => Err(reason),
            None => stopped,
        }
    }

    async fn first_end_or(&mut self, signal: impl Future<Output = ()>) -> Option<Stopped> {
        type End<'a> = Pin<Box<dyn Future<Output = (usize, String)> + Send + 'a>>;
        let mut ends: FuturesUnordered<End<'_>> = FuturesUnordered::new();
        for (i, running) in self.running.iter_mut().enumerate() {
            ends.push(Box::pin(async move { (i, describe((&mut running.task).await)) }));
        }
        let ended = tokio::select! {
            () = signal => None,
            Some(ended) = ends.next() => Some(ended),
        };
        drop(ends);
        let (i, reason) = ended?;
        let name = self.running.remove(i).name;
        Some(Stopped::Ended { name, reason })
    }

    async fn stop(&mut self, grace: Duration) -> Result<(), Stopped> {
        let all = async {
            while let Some(last) = self.running.last_mut() {
                last.shutdown.tell();
                let ended = (&mut last.task).await;
                match ended {
                    Ok(Ok(())) => tracing::info!(service = last.name, "stopped"),
                    other => tracing::error!(service = last.name, error = describe(other), "stop service"),
                }
                self.running.pop();
            }
        };
        if tasks::timeout(grace, all).await.is_some() {
            return Ok(());
        }
        Err(Stopped::GraceExceeded { grace, names: self.names().join(", ") })
    }
}

fn describe(ended: Result<Result<(), String>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "returned without being told".to_string(),
        Ok(Err(reason)) => reason,
        Err(e) if e.is_panic() => "panicked".to_string(),
        Err(_) => "canceled".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    struct Recorder(&'static str, Arc<Mutex<Vec<&'static str>>>);

    impl Service for Recorder {
        const NAME: &'static str = "recorder";
        type Error = Infallible;

        async fn run(self, mut shutdown: Shutdown) -> Result<(), Infallible> {
            shutdown.wait().await;
            self.1.lock().unwrap().push(self.0);
            Ok(())
        }
    }

    struct Panics;

    impl Service for Panics {
        const NAME: &'static str = "panics";
        type Error = Infallible;

        async fn run(self, _shutdown: Shutdown) -> Result<(), Infallible> {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn services_stop_in_reverse_order() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut supervisor = Supervisor::default();
        for name in ["first", "second", "third"] {
            supervisor.start(Recorder(name, Arc::clone(&order)));
        }
        supervisor.run(async {}, Duration::from_secs(10)).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["third", "second", "first"]);
    }

    #[tokio::test]
    async fn a_panic_of_one_service_stops_the_others_in_order() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut supervisor = Supervisor::default();
        supervisor.start(Recorder("first", Arc::clone(&order)));
        supervisor.start(Panics);
        let stopped = supervisor.run(std::future::pending(), Duration::from_secs(10)).await;
        assert!(matches!(stopped, Err(Stopped::Ended { name: "panics", .. })));
        assert_eq!(*order.lock().unwrap(), ["first"]);
    }
}
