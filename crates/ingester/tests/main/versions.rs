//! No gap between head and table, seen by a querier in another process: what left the head is in the version that
//! the ingester names, from its first answer on.

use bucket::{Commit, Operation, Table};
use model::{Batch, Metadata, MetricType, TimeRange};
use testkit::store::{Fault, On};
use wire::{Admin, LabelsRequest, MetadataRequest, Push, Select, SelectBudget};

use crate::world::{MINUTE, START, Truth, World, everything, exemplars_batch, labels, scrape, tenant};

fn list(min_table_version: Option<u64>) -> LabelsRequest {
    LabelsRequest {
        selectors: Vec::new(),
        range: TimeRange::ALL,
        limit: 0,
        budget: SelectBudget::unlimited(),
        min_table_version,
    }
}

fn descriptions(min_table_version: Option<u64>) -> MetadataRequest {
    MetadataRequest { family: None, budget: SelectBudget::unlimited(), min_table_version }
}

fn family(name: &str) -> Batch {
    let metadata = Metadata {
        family: name.to_string(),
        metric_type: MetricType::Counter,
        unit: String::new(),
        help: String::new(),
    };
    Batch { metadata: vec![metadata], ..Batch::default() }
}

#[tokio::test]
async fn the_first_answers_of_a_restarted_ingester_name_what_was_flushed_before() {
    let mut world = World::new();
    let node = world.open().await;
    // The querier knows the tables, and will not look again within its poll interval.
    let querier = world.scan().await;
    for minute in 0..2 {
        node.accept(&mut Truth::new(), &scrape(1, 3, START + minute * MINUTE)).await;
        let exemplar = (labels("m0", 0), START + minute * MINUTE, 1.0, "t".to_string());
        node.push(&exemplars_batch(&[exemplar])).await.unwrap();
        node.ingester.push(&tenant(), &family(&format!("f{minute}"))).await.unwrap();
        node.ingester.flush().await.unwrap();
        if minute == 0 {
            assert_eq!(querier.select(&tenant(), &everything(None)).await.unwrap().series.len(), 3);
            assert_eq!(querier.exemplars(&tenant(), &list(None)).await.unwrap().items.len(), 1);
            assert_eq!(querier.metadata(&tenant(), &descriptions(None)).await.unwrap().items.len(), 1);
        }
    }
    let node = world.kill(node).await;
    let selected = node.ingester.select(&tenant(), &everything(None)).await.unwrap();
    assert_eq!(selected.series.len(), 0);
    let stored = querier.select(&tenant(), &everything(selected.table_version)).await.unwrap();
    assert_eq!(stored.series[0].clone().merged().floats[0].values.len(), 2, "both flushes");
    let recent = node.ingester.exemplars(&tenant(), &list(None)).await.unwrap();
    let stored = querier.exemplars(&tenant(), &list(recent.table_version)).await.unwrap();
    assert_eq!((recent.items.len(), stored.items[0].exemplars.len()), (0, 2));
    let recent = node.ingester.metadata(&tenant(), &descriptions(None)).await.unwrap();
    let stored = querier.metadata(&tenant(), &descriptions(recent.table_version)).await.unwrap();
    assert_eq!(stored.items.len(), 2);
}

#[tokio::test]
async fn every_list_names_the_version_too() {
    let mut world = World::new();
    let mut node = world.open().await;
    node.accept(&mut Truth::new(), &scrape(1, 3, START)).await;
    node.ingester.flush().await.unwrap();
    for which in 0..3 {
        node = world.kill(node).await;
        let ingester = &node.ingester;
        let version = match which {
            0 => ingester.series(&tenant(), &list(None)).await.unwrap().table_version,
            1 => ingester.label_names(&tenant(), &list(None)).await.unwrap().table_version,
            _ => ingester.label_values(&tenant(), "job", &list(None)).await.unwrap().table_version,
        };
        assert_eq!(version, Some(1), "list {which}");
    }
}

#[tokio::test]
async fn what_another_process_removed_is_in_no_answer_after_it_was_observed() {
    let world = World::new();
    let node = world.open().await;
    node.accept(&mut Truth::new(), &scrape(1, 3, START)).await;
    node.push(&exemplars_batch(&[(labels("m0", 0), START, 1.0, "t".to_string())])).await.unwrap();
    node.ingester.push(&tenant(), &family("f")).await.unwrap();
    node.ingester.flush().await.unwrap();
    let querier = world.scan().await;
    let ask = async || {
        let recent = node.ingester.select(&tenant(), &everything(None)).await.unwrap();
        let series = querier.select(&tenant(), &everything(recent.table_version)).await.unwrap().series;
        let recent = node.ingester.exemplars(&tenant(), &list(None)).await.unwrap();
        let exemplars = querier.exemplars(&tenant(), &list(recent.table_version)).await.unwrap().items;
        let recent = node.ingester.metadata(&tenant(), &descriptions(None)).await.unwrap();
        let version = recent.table_version;
        let stored = querier.metadata(&tenant(), &descriptions(version)).await.unwrap().items;
        (series.len(), exemplars.len(), recent.items.len() + stored.len())
    };
    assert_eq!(ask().await, (3, 1, 2));
    let other = world.bucket().await;
    let mut version = 0;
    for table in Table::ALL {
        let table = other.table(&tenant(), table);
        let snapshot = table.snapshot().await.unwrap().unwrap();
        let removes = snapshot.files().map(|file| file.path.clone()).collect();
        let commit = Commit { removes, operation: Operation::Delete, ..Commit::default() };
        version = table.commit(&commit).await.unwrap().version;
    }
    node.ingester.observe(&tenant(), version).await.unwrap();
    assert_eq!(ask().await, (0, 0, 0));
    // What is sent again is news again.
    node.ingester.push(&tenant(), &family("f")).await.unwrap();
    node.ingester.flush().await.unwrap();
    assert_eq!(ask().await, (0, 0, 2));
}

#[tokio::test]
async fn after_the_first_answer_none_waits_for_the_store() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(1, 3, START)).await;
    let ask = async || {
        node.ingester.select(&tenant(), &everything(None)).await.map(|answer| answer.series.len())?;
        node.ingester.series(&tenant(), &list(None)).await?;
        node.ingester.exemplars(&tenant(), &list(None)).await?;
        node.ingester.metadata(&tenant(), &descriptions(None)).await
    };
    ask().await.unwrap();
    world.store.fail(On::Everything, Fault::Refuse, None);
    let before = world.store.n_faults();
    ask().await.unwrap();
    assert_eq!(world.store.n_faults(), before, "nothing was asked of the store");
}

#[tokio::test]
async fn an_ingester_that_cannot_know_the_version_does_not_answer_without_it() {
    let world = World::new();
    let node = world.open().await;
    node.accept(&mut Truth::new(), &scrape(1, 3, START)).await;
    world.store.fail(On::Everything, Fault::Refuse, None);
    let refused = node.ingester.select(&tenant(), &everything(None)).await.unwrap_err();
    assert!(matches!(refused, wire::SelectError::Unavailable(_)), "{refused}");
    world.store.heal();
    assert_eq!(node.ingester.select(&tenant(), &everything(None)).await.unwrap().series.len(), 3);
}
