//! Who asked for what.

use std::sync::Arc;

use axum::http::HeaderMap;
use model::TenantIds;
use wire::QueryRequest;

/// Bytes of a query that are kept for logs and lists; longer ones are cut.
const QUERY_BYTES: usize = 2048;
/// Bytes of a header that are kept.
const HEADER_BYTES: usize = 256;

/// A question with its tenants, as it is shown in lists and logs.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) tenants: TenantIds,
    /// As much of it as is kept.
    pub(crate) query: Arc<str>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: Option<i64>,
    pub(crate) asker: Asker,
}

/// Where a question came from, by what Grafana and others say about themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker {
    pub(crate) remote_addr: String,
    pub(crate) user_agent: String,
    pub(crate) dashboard: String,
    pub(crate) panel: String,
    pub(crate) datasource: String,
    pub(crate) grafana_org: String,
    /// Whether nothing that was kept may be in the answer, and nothing of it may be kept.
    pub(crate) is_uncached: bool,
}

impl Asked {
    pub(crate) fn new(tenants: &TenantIds, request: &QueryRequest, asker: Asker) -> Asked {
        Asked {
            tenants: tenants.clone(),
            query: cut(&request.query, QUERY_BYTES).into(),
            start_ms: request.start_ms,
            end_ms: request.end_ms,
            step_ms: request.step_ms,
            asker,
        }
    }

    #[cfg(test)]
    pub(crate) fn of(tenants: &TenantIds, query: &str) -> Arc<Asked> {
        Arc::new(Asked {
            tenants: tenants.clone(),
            query: query.into(),
            start_ms: 0,
            end_ms: 0,
            step_ms: None,
            asker: Asker::default(),
        })
    }

    /// Whether it is about nothing that others own.
    pub(crate) fn is_visible_to(&self, tenants: &TenantIds) -> bool {
        self.tenants.all().iter().all(|tenant| tenants.all().contains(tenant))
    }

    /// Seconds from the first to the last time of evaluation.
    pub(crate) fn range_secs(&self) -> i64 {
        self.end_ms.saturating_sub(self.start_ms) / 1000
    }
}

impl Asker {
    /// By the headers, and `nocache=1` among the parameters.
    pub(crate) fn new(headers: &HeaderMap, nocache: Option<&str>) -> Asker {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            cut(value, HEADER_BYTES).to_string()
        };
        let directives = header("cache-control").to_ascii_lowercase();
        let is_no_store = directives.split(',').any(|directive| directive.trim() == "no-store");
        Asker {
            // Whoever connects to us is a gateway, mostly, and this is how it says for whom.
            remote_addr: header("x-forwarded-for").split(',').next().unwrap_or_default().trim().to_string(),
            user_agent: header("user-agent"),
            dashboard: header("x-dashboard-uid"),
            panel: header("x-panel-id"),
            datasource: header("x-datasource-uid"),
            grafana_org: header("x-grafana-org-id"),
            is_uncached: is_no_store || nocache.is_some_and(|value| ["1", "true"].contains(&value)),
        }
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_passed_by_when_header_or_parameter_say_so() {
        let of = |directive: &str, nocache| {
            let mut headers = HeaderMap::new();
            headers.insert("cache-control", directive.parse().unwrap());
            Asker::new(&headers, nocache).is_uncached
        };
        assert!(of("No-Store", None) && of("max-age=0, no-store", None) && of("", Some("1")));
        assert!(!of("max-age=0", None) && !of("no-cache", Some("0")) && !of("", None));
    }

    #[test]
    fn what_is_kept_of_a_question_is_bounded() {
        let mut headers = HeaderMap::new();
        headers.insert("x-dashboard-uid", "u".repeat(10_000).parse().unwrap());
        let asker = Asker::new(&headers, None);
        assert_eq!(asker.dashboard.len(), HEADER_BYTES);
        assert_eq!(cut("äää", 3), "ä");
    }
}
