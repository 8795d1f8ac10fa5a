//! `/status/tsdb/blocks`: the files of the tenant's table, in the shape of Prometheus's blocks.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use wire::StoredBlock;

use crate::error::ApiError;
use crate::http::Deps;
use crate::json::{self, Json};

/// The only version of a block that Prometheus has.
const VERSION: u32 = 1;

/// `/status/tsdb/blocks`
pub(crate) async fn blocks(State(deps): State<Deps>, headers: HeaderMap) -> Result<Response, ApiError> {
    let tenants = deps.tenants(&headers)?;
    let blocks = deps.querier.blocks(&tenants).await;
    let blocks = blocks.map_err(|e| ApiError::instead_of("status/tsdb/blocks", &tenants, e))?;
    Ok(json::success(|out| {
        out.object(|out| {
            out.key("blocks").array(|out| blocks.iter().for_each(|block| write(out, block)));
        });
    }))
}

/// Samples and series are not counted in the log of a table; the length of a file is. As in Prometheus a block ends
/// before `maxTime`, and a level above 1 is one that was merged.
fn write(out: &mut Json, block: &StoredBlock) {
    out.object(|out| {
        out.key("ulid").string(&block.name);
        out.key("minTime").number(block.min_ms);
        out.key("maxTime").number(block.max_ms.saturating_add(1));
        out.key("stats").object(|out| {
            out.key("numBytes").number(block.n_bytes);
        });
        out.key("compaction").object(|out| {
            out.key("level").number(if block.is_merged { 2 } else { 1 });
            out.key("sources").strings(&[&block.name]);
        });
        out.key("version").number(VERSION);
    });
}
