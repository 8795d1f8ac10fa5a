//! What is kept, what is not, and what makes it worthless.

use limits::Limits;
use model::TimeRange;

use super::world::{DAY, HOUR, MINUTE, World, get, limits, range, replace, series};

/// A world with a day and a half of samples in its tables, and nothing in the head.
async fn filled() -> World {
    fill(World::new().await).await
}

async fn fill(mut world: World) -> World {
    let samples = |hours: std::ops::Range<i64>| -> Vec<_> {
        let times = (hours.start * 6..hours.end * 6).map(|i| DAY + i * 10 * MINUTE);
        times.flat_map(|at| ["0", "1"].map(|i| (series("g", i), at, (at / MINUTE % 1000) as f64))).collect()
    };
    for hour in [0, 12, 24] {
        world.advance(12 * HOUR);
        for at in samples(hour..hour + 12).chunks(200) {
            world.push(at).await;
        }
        world.flush().await;
    }
    world.advance(HOUR);
    world
}

/// The hits and the evaluations since `before`.
fn counted(world: &World, before: (f64, f64)) -> (f64, f64) {
    let hits = world.metric("query_frontend_results_cache_hits_total");
    let evaluated = world.metric("query_frontend_query_parts_total");
    (hits - before.0, evaluated - before.1)
}

const QUERY: &str = "sum(g)";

async fn check(world: &World) -> String {
    world.check(QUERY, DAY + HOUR, DAY + 30 * HOUR, 10 * MINUTE).await
}

#[tokio::test]
async fn what_has_settled_is_evaluated_once() {
    let world = filled().await;
    let first = check(&world).await;
    let before = counted(&world, (0.0, 0.0));
    assert_eq!(before, (0.0, 11.0), "a part for every three hours");
    assert_eq!(check(&world).await, first);
    assert_eq!(counted(&world, before), (11.0, 0.0));
    // What begins and ends elsewhere takes what is there, and what there is nothing of is evaluated.
    world.check(QUERY, DAY + 90 * MINUTE, DAY + 31 * HOUR, 10 * MINUTE).await;
    assert_eq!(counted(&world, before), (22.0, 1.0));
    world.check(QUERY, DAY + 90 * MINUTE, DAY + 31 * HOUR, 10 * MINUTE).await;
    assert_eq!(counted(&world, before), (33.0, 1.0), "and kept together with it");
    world.check(QUERY, DAY + HOUR, DAY + 30 * HOUR, 5 * MINUTE).await;
    assert_eq!(counted(&world, before), (33.0, 12.0), "another step is another query");
}

#[tokio::test]
async fn late_samples_deletions_and_limits_make_kept_answers_worthless() {
    let mut world = filled().await;
    let mut last = check(&world).await;
    let mut differs = |answer: String, why: &str| {
        assert_ne!(last, answer, "{why}");
        last = answer;
    };
    world.push(&[(series("g", "2"), DAY + 5 * HOUR, 7.0)]).await;
    differs(check(&world).await, "a sample that came late, in the head");
    let before = counted(&world, (0.0, 0.0));
    assert_eq!(check(&world).await.len(), last.len());
    // Of the part with its window only what is before that.
    assert_eq!(
        counted(&world, before),
        (10.0, 2.0),
        "what it may concern is not kept while it is in the head"
    );
    world.flush().await;
    check(&world).await;
    let before = counted(&world, (0.0, 0.0));
    check(&world).await;
    assert_eq!(counted(&world, before), (11.0, 0.0), "in the table it has settled");
    world.delete("g", "2", TimeRange::new(DAY, DAY + 40 * HOUR)).await;
    let without = check(&world).await;
    assert!(!without.contains("\"7\"") || without != last);
    world.compact().await;
    assert_eq!(check(&world).await, without);
    replace(&world.limits, Limits { max_samples_per_query: 1, ..limits() });
    // Each part says how much it needed itself.
    let refused = range(&world.frontend, QUERY, DAY + HOUR, DAY + 30 * HOUR, 10 * MINUTE).await;
    assert!(
        refused.starts_with("422") && refused.contains("max_samples_per_query"),
        "another limit: {refused}"
    );
    replace(&world.limits, limits());
    assert_eq!(check(&world).await, without);
    world.deleter.delete_tenant(&super::world::tenant()).await.unwrap();
    assert!(check(&world).await.contains(r#""result":[]"#), "nothing of a deleted tenant is left");
}

#[tokio::test]
async fn the_recent_past_is_not_kept() {
    let mut world = filled().await;
    let at = world.now_ms - 5 * MINUTE;
    let ends_now = async |world: &World| {
        let (end, before) = (world.now_ms, counted(world, (0.0, 0.0)));
        world.check(QUERY, end - 10 * HOUR, end, 10 * MINUTE).await;
        counted(world, before)
    };
    assert_eq!(ends_now(&world).await.0, 0.0);
    assert_eq!(ends_now(&world).await, (4.0, 1.0), "max_cache_freshness is ten minutes");
    world.push(&[(series("g", "0"), at, 1.0)]).await;
    let (hits, evaluated) = ends_now(&world).await;
    assert!(hits >= 3.0 && evaluated >= 1.0, "{hits} {evaluated}: the window is open");
    world.advance(HOUR);
    world.flush().await;
    ends_now(&world).await;
    assert_eq!(ends_now(&world).await.1, 1.0);
}

#[tokio::test]
async fn it_can_be_passed_by_and_switched_off() {
    let world = filled().await;
    let path = format!(
        "/api/v1/query_range?query=g&start={}&end={}&step=600",
        (DAY + HOUR) / 1000,
        (DAY + 20 * HOUR) / 1000
    );
    let evaluated = async |path: &str, headers: &[(&str, &str)]| {
        let before = counted(&world, (0.0, 0.0));
        assert!(get(&world.frontend, path, headers).await.starts_with("200"));
        counted(&world, before)
    };
    let no_store = [("Cache-Control", "no-store")];
    assert_eq!(evaluated(&path, &no_store).await, (0.0, 7.0));
    assert_eq!(evaluated(&path, &[]).await, (0.0, 7.0), "nothing was kept");
    assert_eq!(evaluated(&path, &[]).await, (7.0, 0.0));
    assert_eq!(evaluated(&path, &no_store).await, (0.0, 7.0));
    assert_eq!(evaluated(&format!("{path}&nocache=1"), &[]).await, (0.0, 7.0));
    assert_eq!(evaluated(&format!("{path}&stats=all"), &[]).await, (0.0, 7.0), "steps are counted");
    let unaligned = path.replace("&step=600", "&step=601");
    assert_eq!(evaluated(&unaligned, &[]).await.0, 0.0);
    assert_eq!(evaluated(&unaligned, &[]).await.0, 0.0);
    replace(&world.limits, Limits { cache_unaligned_requests: true, ..limits() });
    assert_eq!(evaluated(&unaligned, &[]).await, (0.0, 7.0));
    assert_eq!(evaluated(&unaligned, &[]).await, (7.0, 0.0));
    replace(&world.limits, Limits { cache_results: false, ..limits() });
    assert_eq!(evaluated(&path, &[]).await, (0.0, 7.0));
    assert_eq!(evaluated(&path, &[]).await, (0.0, 7.0));
}

#[tokio::test]
async fn times_are_put_on_multiples_of_the_step_where_a_tenant_wants_it() {
    let world = filled().await;
    replace(&world.limits, Limits { align_queries_with_step: true, ..limits() });
    let answer = world.check("vector(time())", DAY + HOUR + 7, DAY + 2 * HOUR + 9, HOUR).await;
    let (first, last) = ((DAY + HOUR) / 1000, (DAY + 2 * HOUR) / 1000);
    assert!(answer.contains(&format!("[[{first},\"{first}\"],[{last},\"{last}\"]]")), "{answer}");
}

#[tokio::test]
async fn equal_queries_at_the_same_time_are_evaluated_once() {
    let world = filled().await;
    let ask = || range(&world.frontend, QUERY, DAY + HOUR, DAY + 30 * HOUR, 10 * MINUTE);
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    assert!(a == b && b == c);
    assert!(world.metric("query_frontend_evaluations_shared_total") >= 2.0);
    assert_eq!(a, range(&world.plain, QUERY, DAY + HOUR, DAY + 30 * HOUR, 10 * MINUTE).await);
}

#[tokio::test]
async fn too_long_a_range_is_refused_however_short_its_parts_are() {
    let world = filled().await;
    let length = limits::PromDuration::secs(10 * 3600);
    replace(&world.limits, Limits { max_query_length: length, ..limits() });
    assert!(check(&world).await.contains("max_query_length"));
    let short = world.check(QUERY, DAY + HOUR, DAY + 10 * HOUR, 10 * MINUTE).await;
    assert!(short.starts_with("200"), "{short}");
}

#[tokio::test]
async fn the_lists_of_queries_say_what_ran() {
    let world = filled().await;
    for _ in 0..3 {
        check(&world).await;
    }
    let top = get(&world.frontend, "/api/v1/status/top_queries?topN=1&maxLifetime=1h", &[]).await;
    assert!(top.starts_with(r#"200 {"topN":"1","maxLifetime":"1h","#), "{top}");
    for key in ["topByCount", "topByAvgDuration", "topBySumDuration"] {
        assert!(
            top.contains(&format!(r#""{key}":[{{"query":"sum(g)","timeRangeSeconds":104400,"#)),
            "{key}: {top}"
        );
    }
    let others = get(&world.frontend, "/api/v1/status/top_queries", &[("X-Scope-OrgID", "other")]).await;
    assert!(others.contains(r#""topByCount":[]"#), "{others}");
    let active = get(&world.frontend, "/api/v1/status/active_queries", &[]).await;
    assert_eq!(active, r#"200 {"status":"ok","data":[]}"#);
}

#[tokio::test]
async fn a_query_is_not_refused_because_of_its_own_parts() {
    let config = querier::Config { max_concurrent: 1, ..querier::Config::default() };
    let world = fill(World::of(config, 1).await).await;
    assert!(check(&world).await.starts_with("200"));
    assert_eq!(counted(&world, (0.0, 0.0)), (0.0, 11.0));
    assert!(
        world.metric("querier_queue_refusals_total") > 0.0,
        "its parts did not come into each other's way"
    );
}
