//! Answers about what is not here: Firn scrapes nothing, evaluates no rules and sends no alerts. Clients that ask are
//! told so in the shape they know.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;

use crate::error::ApiError;
use crate::json;
use crate::labels::selectors;
use crate::params::{Params, integer_error};

/// `/rules`: none, of those that are asked for in the right way.
pub(crate) async fn rules(params: Params) -> Result<Response, ApiError> {
    selectors(&params).map_err(ApiError::bad_data)?;
    let lower = |name: &str| params.get(name).map(str::to_lowercase);
    let kind = lower("type").unwrap_or_default();
    if !["", "alert", "record"].contains(&kind.as_str()) {
        return Err(ApiError::parameter("type", format!("not supported value {kind:?}")));
    }
    if let Some(text) = lower("exclude_alerts").filter(|text| !is_bool(text)) {
        let reason =
            format!("error converting exclude_alerts: strconv.ParseBool: parsing {text:?}: invalid syntax");
        return Err(ApiError::parameter("exclude_alerts", reason));
    }
    check_page(&params)?;
    Ok(json::success(|out| {
        out.object(|out| {
            out.key("groups").array(|_| {});
        });
    }))
}

/// `group_limit` and `group_next_token`: no page of nothing has a next one.
fn check_page(params: &Params) -> Result<(), ApiError> {
    let next = params.get("group_next_token");
    let Some(text) = params.get("group_limit") else {
        let missing = "group_limit needs to be present in order to paginate over the groups";
        return next.map_or(Ok(()), |_| Err(ApiError::parameter("group_next_token", missing)));
    };
    let limit: i32 = text.parse().map_err(|e| {
        let reason = integer_error("ParseInt", text, &e);
        ApiError::parameter("group_limit", format!("group_limit needs to be a valid number: {reason}"))
    })?;
    if limit <= 0 {
        return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0"));
    }
    next.map_or(Ok(()), |token| {
        let reason = format!("invalid group_next_token '{token}'. were rule groups changed?");
        Err(ApiError::parameter("group_next_token", reason))
    })
}

/// What Go's `strconv.ParseBool` takes, in lower case.
fn is_bool(text: &str) -> bool {
    ["1", "t", "true", "0", "f", "false"].contains(&text)
}

/// `/alerts`
pub(crate) async fn alerts() -> Response {
    json::success(|out| {
        out.object(|out| {
            out.key("alerts").array(|_| {});
        });
    })
}

/// `/alertmanagers`
pub(crate) async fn alertmanagers() -> Response {
    json::success(|out| {
        out.object(|out| {
            out.key("activeAlertmanagers").array(|_| {});
            out.key("droppedAlertmanagers").array(|_| {});
        });
    })
}

/// `/targets`. What is not asked for is not counted either.
pub(crate) async fn targets(params: Params) -> Response {
    let state = params.get("state").map(str::to_lowercase).unwrap_or_default();
    let shows_dropped = ["", "any", "dropped"].contains(&state.as_str());
    json::success(|out| {
        out.object(|out| {
            out.key("activeTargets").array(|_| {});
            out.key("droppedTargets").array(|_| {});
            match shows_dropped {
                true => out.key("droppedTargetCounts").object(|_| {}),
                false => out.key("droppedTargetCounts").null(),
            };
        });
    })
}

/// `/scrape_pools`
pub(crate) async fn scrape_pools() -> Response {
    json::success(|out| {
        out.object(|out| {
            out.key("scrapePools").array(|_| {});
        });
    })
}

/// `/scrape_pools/config`: there is none of any name.
pub(crate) async fn scrape_pool_config(params: Params) -> ApiError {
    match params.get("scrapePool") {
        Some(pool) => no_scrape_pool(pool),
        None => ApiError::bad_data("no scrapePool parameter provided"),
    }
}

/// `/targets/relabel_steps`: rules belong to a scrape pool.
pub(crate) async fn relabel_steps(params: Params) -> ApiError {
    let Some(pool) = params.get("scrapePool") else {
        return ApiError::bad_data("no scrapePool parameter provided");
    };
    let Some(labels) = params.get("labels") else {
        return ApiError::bad_data("no labels parameter provided");
    };
    match serde_json::from_str::<Option<BTreeMap<String, String>>>(labels) {
        Err(e) => ApiError::bad_data(format!("error parsing labels: {e}")),
        Ok(_) => no_scrape_pool(pool),
    }
}

fn no_scrape_pool(pool: &str) -> ApiError {
    ApiError::bad_data(format!("error retrieving scrape config: scrape pool {pool:?} not found"))
}

/// `/targets/metadata`
pub(crate) async fn targets_metadata(params: Params) -> Result<Response, ApiError> {
    if params.get("limit").is_some_and(|text| text.parse::<i64>().is_err()) {
        return Err(ApiError::bad_data("limit must be a number"));
    }
    if let Some(selector) = params.get("match_target") {
        promql::parse_selector(selector).map_err(|e| ApiError::parameter("match_target", e))?;
    }
    Ok(nothing().await)
}

/// `/notifications`
pub(crate) async fn nothing() -> Response {
    json::success(|out| {
        out.array(|_| {});
    })
}

/// `/notifications/live`: no stream is kept open on which nothing would ever come. This is how a server of events tells
/// a browser not to ask again.
pub(crate) async fn no_stream() -> StatusCode {
    StatusCode::NO_CONTENT
}
