use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::Metadata;
use wire::{MetadataRequest, SelectBudget};

use crate::error::ApiError;
use crate::http::Deps;
use crate::json::{self, Json};
use crate::params::Params;

/// `/metadata`: what senders say about metric families.
pub(crate) async fn query(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    // As in Prometheus, 0 metrics are none and 0 descriptions of a metric are all.
    let limit = number(&params, "limit")?.map_or(usize::MAX, at_most);
    let per_metric = number(&params, "limit_per_metric")?.filter(|n| *n > 0).map_or(usize::MAX, at_most);
    let request = MetadataRequest {
        family: params.get("metric").map(str::to_string),
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    };
    let tenants = deps.tenants(&headers)?;
    let found = deps.querier.metadata(&tenants, &request).await;
    let found = found.map_err(|e| ApiError::instead_of("metadata", &tenants, e))?;
    Ok(json::success(|out| {
        out.object(|out| {
            for family in found.chunk_by(|a, b| a.family == b.family).take(limit) {
                let shown = &family[..family.len().min(per_metric)];
                out.key(&family[0].family).array(|out| shown.iter().for_each(|one| write(out, one)));
            }
        });
    }))
}

/// An integer, if given.
fn number(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let parse = |text: &str| text.parse().map_err(|_| ApiError::bad_data(format!("{name} must be a number")));
    params.get(name).map(parse).transpose()
}

/// A negative limit is none.
fn at_most(n: i64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn write(out: &mut Json, one: &Metadata) {
    out.object(|out| {
        out.key("type").string(one.metric_type.as_str());
        out.key("unit").string(&one.unit);
        out.key("help").string(&one.help);
    });
}
