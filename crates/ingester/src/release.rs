//! Letting go of the log: what is needed of old segments is carried forward, then they are removed.

use runtime::fault;
use wal::{Lsn, WalError};

use crate::Inner;
use crate::push::envelope;
use crate::record::{self, Definition, Kind};
use crate::tenants::{Shard, Tenant};

/// About how many bytes of definitions are written under a shard's lock at a time.
const CARRY_BYTES: usize = 1 << 20;

/// The newest segment is closed for its removal only when that is worth a new file.
const MIN_ROTATE_BYTES: u64 = 1 << 20;

impl Inner {
    /// Removes the segments in which every sample is in a committed cut. What fails is tried again with the next
    /// flush.
    pub(crate) async fn release_log(&self) {
        let _one = self.releasing.lock().await;
        if let Err(e) = self.release().await {
            tracing::error!(error = %e, "release segments of the log");
        }
    }

    async fn release(&self) -> Result<(), WalError> {
        let needed_from = self.needed_from();
        let Some(boundary) = self.boundary(needed_from)? else { return Ok(()) };
        fault::point("drop.before_carry");
        for tenant in self.tenants.all() {
            for shard in tenant.shards() {
                self.carry(&tenant, &shard, boundary)?;
            }
            self.carry_metadata(&tenant, boundary)?;
        }
        fault::point("drop.after_carry");
        // What was carried has to survive the machine before its source goes.
        self.wal.sync().await?;
        fault::point("drop.before_truncate");
        let n_removed = self.wal.truncate_before(boundary).await?;
        fault::point("drop.after_truncate");
        tracing::debug!(n_removed, boundary, "released segments of the log");
        Ok(())
    }

    /// The oldest record with a sample that no committed cut holds.
    fn needed_from(&self) -> Lsn {
        // Read before the shards: what is appended while we look is not older.
        let mut needed_from = self.wal.next_lsn();
        for tenant in self.tenants.all() {
            for shard in tenant.shards() {
                let first = shard.state.lock().first_needed();
                needed_from = first.map_or(needed_from, |first| needed_from.min(first));
            }
        }
        needed_from
    }

    /// The end of the last segment that can go.
    fn boundary(&self, needed_from: Lsn) -> Result<Option<Lsn>, WalError> {
        let segments = self.wal.segments();
        let newest_can_go = segments.last().is_some_and(|newest| {
            newest.end_lsn <= needed_from && (newest.bytes >= MIN_ROTATE_BYTES || self.is_stopping())
        });
        if newest_can_go {
            self.wal.rotate()?;
        }
        let segments = self.wal.segments();
        let closed = segments.split_last().map_or(&segments[..0], |(_, closed)| closed);
        let ends = closed.iter().map(|segment| segment.end_lsn);
        Ok(ends.take_while(|end| *end <= needed_from).last())
    }

    /// Writes the definitions of all series of a shard again, if one of them stands before the boundary. Each
    /// definition is written again once for each time that the whole log is replaced, no more.
    fn carry(&self, tenant: &Tenant, shard: &Shard, boundary: Lsn) -> Result<(), WalError> {
        let is_needed = shard.state.lock().definitions_from.is_some_and(|from| from < boundary);
        if !is_needed {
            return Ok(());
        }
        let carried_from = self.wal.next_lsn();
        let mut next_ref = 0;
        let mut payload = Vec::new();
        let mut any = false;
        loop {
            let state = shard.state.lock();
            let mut bytes = 0;
            let mut chunk = Vec::new();
            for definition in state.head.definitions().filter(|definition| definition.series_ref >= next_ref)
            {
                if bytes >= CARRY_BYTES {
                    break;
                }
                bytes += definition.run.len() + 24;
                chunk.push(Definition {
                    series_ref: definition.series_ref,
                    run: definition.run,
                    flushed: definition.newest_flushed,
                });
            }
            let Some(last) = chunk.last() else { break };
            next_ref = last.series_ref.saturating_add(1);
            payload.clear();
            record::put_next_sequence(&mut payload, state.next_sequence);
            record::put_definitions(&mut payload, chunk.into_iter());
            self.wal.append(&envelope(tenant, shard.number, Kind::Carried), &payload)?;
            any = true;
        }
        let mut state = shard.state.lock();
        // Series that were born meanwhile are defined behind what was carried.
        state.definitions_from = (any || state.head.n_series() > 0).then_some(carried_from);
        Ok(())
    }

    /// Writes the descriptions again that no table holds yet, if one of them stands before the boundary.
    fn carry_metadata(&self, tenant: &Tenant, boundary: Lsn) -> Result<(), WalError> {
        let mut families = tenant.metadata.lock();
        if families.needed_from.is_none_or(|from| from >= boundary) {
            return Ok(());
        }
        let waiting = families.waiting();
        let rows: Vec<_> = waiting.iter().map(|row| (&row.metadata, row.seen_ms)).collect();
        let mut payload = Vec::new();
        record::put_metadata(&mut payload, &rows);
        let lsn = self.wal.append(&envelope(tenant, record::NO_SHARD, Kind::Metadata), &payload)?;
        families.needed_from = Some(lsn);
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(std::sync::atomic::Ordering::Relaxed)
    }
}
