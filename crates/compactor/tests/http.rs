//! The routes, as an operator meets them.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use compactor::{Api, routes};
use tower::ServiceExt as _;

use crate::world::{DAY, Node, Truth, World, scraped};

#[tokio::test]
async fn the_routes_answer_as_those_of_prometheus_and_mimir() {
    let world = World::new();
    let mut node = world.open().await;
    let mut truth = Truth::new();
    node.push(&mut truth, &scraped(1, 3, DAY)).await;
    let (deleter, hurry, clock) = (node.deleter.clone(), node.compactor.hurry(), world.clock.clone());
    let api = routes(Api { deleter, hurry, clock, multitenancy: true });
    let ask = async |method: &str, path: &str, tenant: Option<&str>, form: &'static str| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(tenant) = tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = api.clone().oneshot(request.body(Body::from(form)).unwrap()).await.unwrap();
        let status = answer.status();
        (status, String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
    };
    let series = "/api/v1/admin/tsdb/delete_series";
    let team = Some("team-1");
    assert_eq!(ask("POST", series, None, "match[]=m0").await.0, StatusCode::UNAUTHORIZED);
    let (status, body) = ask("POST", series, team, "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body, r#"{"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}"#);
    assert_eq!(ask("GET", series, team, "").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ask("PUT", series, team, "match[]=m0{").await.0, StatusCode::BAD_REQUEST);
    node.check(&truth, "after refusals").await;
    assert_eq!(ask("POST", series, team, "match[]=m0&start=0").await.0, StatusCode::NO_CONTENT);
    let prefixed = "/prometheus/api/v1/admin/tsdb/delete_series?match[]=m1";
    assert_eq!(ask("PUT", prefixed, team, "").await.0, StatusCode::NO_CONTENT);
    truth.retain(|(labels, _), _| labels.metric_name() == Some("m2"));
    node.check(&truth, "after deletions").await;
    // Files wait for more deletions, unless it is asked that they do not.
    let deletions = async |node: &Node| node.snapshot().await.deletions().count();
    node.compact().await;
    assert!(deletions(&node).await > 0);
    assert_eq!(ask("PUT", "/api/v1/admin/tsdb/clean_tombstones", None, "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("POST", "/api/v1/admin/tsdb/clean_tombstones", team, "").await.0, StatusCode::NO_CONTENT);
    node.compact().await;
    assert_eq!(deletions(&node).await, 0);
    node.check(&truth, "after files were rewritten").await;
    let (status, body) = ask("POST", "/api/v1/admin/tsdb/snapshot", team, "skip_head=maybe").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let (status, body) = ask("PUT", "/api/v1/admin/tsdb/snapshot?skip_head=true", team, "").await;
    assert!(status == StatusCode::NOT_IMPLEMENTED && body.contains("POST /flush"), "{body}");
    let status = "/compactor/delete_tenant_status";
    let before = (StatusCode::OK, r#"{"tenant_id":"team-1","blocks_deleted":false}"#.to_string());
    assert_eq!(ask("GET", status, team, "").await, before);
    assert_eq!(ask("POST", "/compactor/delete_tenant", Some("team-2"), "").await.0, StatusCode::OK);
    node.check(&truth, "after the deletion of a neighbour").await;
    assert_eq!(ask("POST", "/compactor/delete_tenant", team, "").await.0, StatusCode::OK);
    let after = (StatusCode::OK, r#"{"tenant_id":"team-1","blocks_deleted":true}"#.to_string());
    assert_eq!(ask("GET", status, team, "").await, after);
    node.check(&Truth::new(), "after the tenant's deletion").await;
}
