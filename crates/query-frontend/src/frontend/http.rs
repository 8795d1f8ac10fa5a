//! The lists of queries, in the form of VictoriaMetrics.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use limits::format_duration;

use super::top::{Ranked, first_by};
use crate::error::ApiError;
use crate::http::Deps;
use crate::json::{self, Json};
use crate::params::Params;

/// VictoriaMetrics's defaults.
const TOP_N: usize = 20;
const MAX_LIFETIME_MS: i64 = 600_000;
/// No list is longer.
const TOP_N_MAX: usize = 1000;

/// `/status/active_queries`: those of the tenant.
pub(crate) async fn active_queries(
    State(deps): State<Deps>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tenants = deps.tenants(&headers)?;
    let active = deps.frontend.inner.active.visible_to(&tenants);
    Ok(answer(|out| {
        out.key("status").string("ok");
        out.key("data").array(|out| {
            for shown in &active {
                out.object(|out| {
                    let asked = &shown.asked;
                    out.key("duration").string(&format!("{:.3}s", shown.secs));
                    out.key("id").string(&format!("{:016X}", shown.id));
                    out.key("remote_addr").string(&asked.asker.remote_addr);
                    out.key("tenant").string(&asked.tenants.to_string());
                    out.key("query").string(&asked.query);
                    out.key("start").number(asked.start_ms);
                    out.key("end").number(asked.end_ms);
                    out.key("step").number(asked.step_ms.unwrap_or(0));
                    out.key("dashboard").string(&asked.asker.dashboard);
                    out.key("panel").string(&asked.asker.panel);
                });
            }
        });
    }))
}

/// `/status/top_queries`: those of the tenant.
pub(crate) async fn top_queries(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenants = deps.tenants(&headers)?;
    let n = match params.get("topN") {
        Some(text) => {
            text.parse().map_err(|_| ApiError::parameter("topN", "must be a number of at least 0"))?
        }
        None => TOP_N,
    };
    let n = n.min(TOP_N_MAX);
    let lifetime_ms = params.duration("maxLifetime")?.unwrap_or(MAX_LIFETIME_MS).max(0);
    let inner = &deps.frontend.inner;
    let since_ms = inner.clock.now_ms().saturating_sub(lifetime_ms);
    let all = inner.top.since(since_ms, &tenants);
    let lifetime = std::time::Duration::from_millis(lifetime_ms.unsigned_abs());
    Ok(answer(|out| {
        out.key("topN").string(&n.to_string());
        out.key("maxLifetime").string(&format_duration(lifetime));
        out.key("search.queryStats.lastQueriesCount").number(inner.top.capacity());
        let least = &inner.config.query_stats_min_duration;
        out.key("search.queryStats.minQueryDuration").string(&least.to_string());
        let by_count = first_by(all.clone(), n, |one| one.count as f64);
        list(out.key("topByCount"), &by_count, |_, _| {});
        let by_average = first_by(all.clone(), n, Ranked::average_secs);
        list(out.key("topByAvgDuration"), &by_average, |out, one| {
            out.key("avgDurationSeconds").number(format_args!("{:.3}", one.average_secs()));
        });
        let by_sum = first_by(all.clone(), n, |one| one.sum_secs);
        list(out.key("topBySumDuration"), &by_sum, |out, one| {
            out.key("sumDurationSeconds").number(format_args!("{:.3}", one.sum_secs));
        });
    }))
}

/// VictoriaMetrics's lists are not wrapped as Prometheus's answers are.
fn answer(fill: impl FnOnce(&mut Json)) -> Response {
    (json::CONTENT_TYPE, json::object(fill)).into_response()
}

fn list(out: &mut Json, ranked: &[Ranked], figure: impl Fn(&mut Json, &Ranked)) {
    out.array(|out| {
        for one in ranked {
            out.object(|out| {
                out.key("query").string(&one.question.query);
                out.key("timeRangeSeconds").number(one.question.range_secs);
                figure(out, one);
                out.key("count").number(one.count);
            });
        }
    });
}
