//! All ingesters as one: a push goes to the owners of its shards, a select to everyone who may hold something.

mod admin;
mod push;
mod select;

pub use admin::RingAdmin;
pub use push::RingPush;
pub use select::RingSelect;

use std::sync::Arc;

use cluster::{Member, Ring, RingWatch};

use crate::{IngesterClient, Pool};

/// The newest snapshot, with connections to those in it.
#[derive(Clone)]
struct Members {
    ring: RingWatch,
    pool: Pool,
}

impl Members {
    /// The snapshot that a request works with from its beginning to its end.
    fn snapshot(&self) -> Arc<Ring> {
        let ring = Arc::clone(&self.ring.borrow());
        self.pool.forget_others(&ring);
        ring
    }

    fn client(&self, member: &Member) -> Result<IngesterClient, String> {
        self.pool.client(member).map_err(|e| format!("ingester {}: {e}", member.name))
    }

    /// The clients of all who may hold samples that are in no table yet.
    fn readers(&self, ring: &Ring) -> Result<Vec<IngesterClient>, String> {
        ring.readers().map(|member| self.client(member)).collect()
    }
}
