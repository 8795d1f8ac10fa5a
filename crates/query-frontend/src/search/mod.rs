//! `/search/*`: names and values that fit what somebody is typing, best first, as lines of JSON (Prometheus 3.15's
//! experimental search API).
//!
//! ```text
//! {"results":[…],"warnings":[…]}        one or more, at most `batch_size` results each
//! {"status":"success","has_more":false}  the end
//! ```

mod filter;
mod params;
mod score;

use std::collections::HashMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use model::{METRIC_NAME, Metadata, TenantIds};
use wire::{LabelsRequest, MetadataRequest, QueryError, SelectBudget};

use crate::error::ApiError;
use crate::http::Deps;
use crate::json::{self, Json};
use crate::params::Params;
use params::{Order, SearchParams, boolean};

const CONTENT_TYPE: [(HeaderName, HeaderValue); 1] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson; charset=utf-8"))];

/// A name or value that was found, and how well it fits.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    text: String,
    score: f64,
}

/// What is shown of all that was found.
#[derive(Debug, PartialEq)]
struct Page {
    shown: Vec<Found>,
    has_more: bool,
}

/// `/search/metric_names`
pub(crate) async fn metric_names(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenants = deps.tenants(&headers)?;
    let search = SearchParams::parse(&params, "metric_names", &deps, &tenants)?;
    let with_metadata = boolean(&params, "include_metadata", false)?;
    let names = deps.querier.label_values(&tenants, METRIC_NAME, &request(&search)).await;
    let page = page(names.map_err(|e| error(&tenants, e))?, &search);
    let families = if with_metadata && !page.shown.is_empty() {
        families(&deps, &tenants).await?
    } else {
        HashMap::new()
    };
    Ok(lines(&page, &search, |out, found| {
        out.key("name").string(&found.text);
        score(out, found, &search);
        if let Some(family) = families.get(&found.text) {
            described(out, family);
        }
    }))
}

/// `/search/label_names`
pub(crate) async fn label_names(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenants = deps.tenants(&headers)?;
    let search = SearchParams::parse(&params, "label_names", &deps, &tenants)?;
    let names = deps.querier.label_names(&tenants, &request(&search)).await;
    let page = page(names.map_err(|e| error(&tenants, e))?, &search);
    Ok(lines(&page, &search, |out, found| {
        out.key("name").string(&found.text);
        score(out, found, &search);
    }))
}

/// `/search/label_values`
pub(crate) async fn label_values(
    State(deps): State<Deps>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenants = deps.tenants(&headers)?;
    let search = SearchParams::parse(&params, "label_values", &deps, &tenants)?;
    let missing = || ApiError::bad_data("missing required parameter \"label\"");
    let label = params.get("label").ok_or_else(missing)?;
    let values = deps.querier.label_values(&tenants, label, &request(&search)).await;
    let page = page(values.map_err(|e| error(&tenants, e))?, &search);
    Ok(lines(&page, &search, |out, found| {
        out.key("value").string(&found.text);
        score(out, found, &search);
    }))
}

fn request(search: &SearchParams) -> LabelsRequest {
    LabelsRequest {
        selectors: search.selectors.clone(),
        range: search.range,
        // One more than is shown says that there are more; what a filter leaves out is not known before.
        limit: match (&search.filter, search.order) {
            (None, Order::Ascending | Order::Score) => search.limit.saturating_add(1),
            _ => 0,
        },
        budget: SelectBudget::unlimited(),
        min_table_version: None,
    }
}

fn error(tenants: &TenantIds, error: QueryError) -> ApiError {
    ApiError::instead_of("search", tenants, error)
}

/// The newest description of each family.
async fn families(deps: &Deps, tenants: &TenantIds) -> Result<HashMap<String, Metadata>, ApiError> {
    let request =
        MetadataRequest { family: None, budget: SelectBudget::unlimited(), min_table_version: None };
    let described = deps.querier.metadata(tenants, &request).await.map_err(|e| error(tenants, e))?;
    let mut families = HashMap::with_capacity(described.len());
    for one in described {
        families.entry(one.family.clone()).or_insert(one);
    }
    Ok(families)
}

/// The first of what fits, in the order that was asked for. `texts` are sorted.
fn page(texts: Vec<String>, search: &SearchParams) -> Page {
    let fits = |text: String| {
        let score = search.filter.as_ref().map_or(Some(1.0), |filter| filter.score(&text))?;
        Some(Found { text, score })
    };
    let mut shown: Vec<Found> = texts.into_iter().filter_map(fits).collect();
    match search.order {
        Order::Ascending => {}
        Order::Descending => shown.reverse(),
        // Stable: of equal ones the lesser text comes first.
        Order::Score => shown.sort_by(|a, b| b.score.total_cmp(&a.score)),
    }
    let has_more = shown.len() > search.limit;
    shown.truncate(search.limit);
    Page { shown, has_more }
}

/// The page as lines, a batch on each.
fn lines(page: &Page, search: &SearchParams, write: impl Fn(&mut Json, &Found)) -> Response {
    let mut text = String::new();
    let mut batches: Vec<&[Found]> = page.shown.chunks(search.batch_size).collect();
    if batches.is_empty() {
        batches.push(&[]);
    }
    for batch in batches {
        line(&mut text, |out| {
            out.key("results").array(|out| {
                for found in batch {
                    out.object(|out| write(out, found));
                }
            });
        });
    }
    line(&mut text, |out| {
        out.key("status").string("success");
        out.key("has_more").bool(page.has_more);
    });
    (CONTENT_TYPE, text).into_response()
}

fn line(text: &mut String, fill: impl FnOnce(&mut Json)) {
    text.push_str(&json::object(fill));
    text.push('\n');
}

fn score(out: &mut Json, found: &Found, search: &SearchParams) {
    if search.include_score {
        out.key("score").float(found.score);
    }
}

/// What is not known is left out.
fn described(out: &mut Json, family: &Metadata) {
    for (key, text) in [("type", family.metric_type.as_str()), ("help", &family.help), ("unit", &family.unit)]
    {
        if !text.is_empty() {
            out.key(key).string(text);
        }
    }
}
