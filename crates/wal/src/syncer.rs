use std::convert::Infallible;

use runtime::{Service, Shutdown};

use crate::{Sync, Wal};

/// Syncs the log at its interval, and once more at the end.
#[derive(Debug)]
pub struct WalSyncer {
    wal: Wal,
}

impl WalSyncer {
    /// The syncer of this log.
    pub fn new(wal: Wal) -> WalSyncer {
        WalSyncer { wal }
    }

    async fn sync(&self) {
        if let Err(e) = self.wal.sync().await {
            tracing::error!(error = %e, "sync the log");
        }
    }
}

impl Service for WalSyncer {
    const NAME: &'static str = "wal-syncer";
    type Error = Infallible;

    async fn run(self, mut shutdown: Shutdown) -> Result<(), Infallible> {
        if let Sync::Interval(interval) = self.wal.sync_mode() {
            while runtime::timeout(interval, shutdown.wait()).await.is_none() {
                self.sync().await;
            }
        }
        shutdown.wait().await;
        self.sync().await;
        Ok(())
    }
}
