use std::sync::Arc;

use model::TimeRange;
use object_store::{ObjectStoreExt as _, PutPayload};
use wire::{Meter, Projection, Select as _, SelectBudget, SelectError, SelectRequest};

use crate::world::{DAY, World, floats, scan_of, scrapes, tenant};

async fn fleet() -> World {
    let world = World::new().await;
    let timeline = scrapes(DAY, 100);
    let series = (0..30).map(|i| floats(&[("__name__", &format!("m{i}"))], &timeline, |ts| ts as f64));
    world.write(series.collect()).await;
    world
}

fn budget(series: u64, samples: u64, bytes: u64) -> SelectBudget {
    SelectBudget {
        series: Meter::new("max_series", series),
        samples: Meter::new("max_samples", samples),
        bytes: Meter::new("max_bytes", bytes),
        deadline: None,
    }
}

async fn ask(world: &World, budget: SelectBudget) -> Result<usize, SelectError> {
    let request = SelectRequest {
        matchers: Vec::new(),
        range: TimeRange::ALL,
        within: None,
        projection: Projection::All,
        budget: Arc::new(budget),
        min_table_version: None,
    };
    Ok(world.scan.select(&tenant(), &request).await?.series.len())
}

#[tokio::test]
async fn each_limit_names_itself() {
    let world = fleet().await;
    assert_eq!(ask(&world, budget(30, 3000, 0)).await.unwrap(), 30);
    for (budget, wanted) in [
        (budget(29, 0, 0), "max_series"),
        (budget(0, 2999, 0), "max_samples"),
        (budget(0, 0, 20_000), "max_bytes"),
    ] {
        let error = ask(&world, budget).await.unwrap_err();
        assert!(matches!(error, SelectError::LimitExceeded { name, .. } if name == wanted), "{error}");
    }
}

#[tokio::test]
async fn a_query_past_its_deadline_stops() {
    let world = fleet().await;
    let late = SelectBudget { deadline: Some(runtime::Clock::system().instant()), ..budget(0, 0, 0) };
    assert!(matches!(ask(&world, late).await, Err(SelectError::Timeout)));
}

#[tokio::test]
async fn a_file_with_other_bytes_is_an_error_and_never_a_panic() {
    let world = fleet().await;
    let snapshot = world.table.snapshot().await.unwrap().unwrap();
    let file = snapshot.files().next().unwrap();
    let path = world.table.object(&file.path);
    let good = world.store.inner.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    let mut wrong = 0;
    for at in (0..good.len()).step_by(331) {
        let mut bad = good.clone();
        bad[at] ^= 0x5A;
        world.store.inner.put(&path, PutPayload::from(bad)).await.unwrap();
        let request = SelectRequest {
            matchers: Vec::new(),
            range: TimeRange::ALL,
            within: None,
            projection: Projection::All,
            budget: SelectBudget::unlimited(),
            min_table_version: None,
        };
        // A flipped bit may lie where nobody looks.
        wrong += usize::from(scan_of(&world.bucket).select(&tenant(), &request).await.is_err());
    }
    assert!(wrong > 10, "{wrong}");
}
