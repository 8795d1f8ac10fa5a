//! Answers about what is not here: Firn scrapes nothing, evaluates no rules and sends no alerts. Clients that ask are
//! told so in the shape they know.

use axum::response::Response;

use crate::json;

/// `/rules`
pub(crate) async fn rules() -> Response {
    json::success(|out| {
        out.object(|out| {
            out.key("groups").array(|_| {});
        });
    })
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

/// `/targets`
pub(crate) async fn targets() -> Response {
    json::success(|out| {
        out.object(|out| {
            out.key("activeTargets").array(|_| {});
            out.key("droppedTargets").array(|_| {});
            out.key("droppedTargetCounts").object(|_| {});
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

/// `/targets/metadata` and `/notifications`
pub(crate) async fn nothing() -> Response {
    json::success(|out| {
        out.array(|_| {});
    })
}
