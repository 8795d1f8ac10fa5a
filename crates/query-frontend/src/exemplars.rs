use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::{ExemplarSeries, TimeRange};
use wire::{LabelsRequest, SelectBudget};

use crate::error::ApiError;
use crate::http::Deps;
use crate::json::{self, Json};
use crate::params::Params;

/// `/query_exemplars`: of every selector of an expression.
pub(crate) async fn query(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let request = request(&params)?;
    let tenants = deps.tenants(&headers)?;
    // An expression without a selector asks for nothing; a request without one would ask for everything.
    let found = match request.selectors.is_empty() {
        true => Vec::new(),
        false => {
            let asked = params.get("query").unwrap_or_default();
            let found = deps.querier.exemplars(&tenants, &request).await;
            found.map_err(|e| ApiError::instead_of(asked, &tenants, e))?
        }
    };
    Ok(json::success(|out| {
        out.array(|out| found.iter().for_each(|series| write_series(out, series)));
    }))
}

fn request(params: &Params) -> Result<LabelsRequest, ApiError> {
    let start = params.time("start")?.unwrap_or(i64::MIN);
    let end = params.time("end")?.unwrap_or(i64::MAX);
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = params.get("query").unwrap_or_default();
    let expr = promql::parse(query).map_err(|e| ApiError::bad_data(e.to_string()))?;
    Ok(LabelsRequest {
        selectors: promql::selectors(&expr).into_iter().map(|selector| selector.matchers.clone()).collect(),
        range: TimeRange::new(start, end),
        limit: 0,
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    })
}

fn write_series(out: &mut Json, series: &ExemplarSeries) {
    out.object(|out| {
        out.key("seriesLabels").labels(&series.labels);
        out.key("exemplars").array(|out| {
            for point in &series.exemplars {
                out.object(|out| {
                    out.key("labels").labels(&point.labels);
                    out.key("value").value(point.value);
                    out.key("timestamp").timestamp(point.timestamp);
                });
            }
        });
    });
}
