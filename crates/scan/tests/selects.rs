//! Selects that ask for the same in many ways: with caches and without, for all labels and for some, of files that
//! overlap, before and after a deletion.

use std::collections::BTreeMap;
use std::sync::Arc;

use block::BlockSeries;
use model::{Deletion, Labels, Matcher, MatcherOp, SeriesData, SeriesId, TimeRange, passes};
use proptest::prelude::*;
use scan::Scan;
use wire::{Meter, Projection, Select as _, SelectBudget, SelectError, SelectRequest};

use crate::roundtrip::{Given, Truth, build, given};
use crate::world::{DAY, HOUR, World, floats, is, request, scan_of, scrapes, tenant};

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let matcher = |name, op, value| Matcher::new(name, op, value).unwrap();
    prop_oneof![
        Just(Vec::new()),
        Just(vec![is("__name__", "m1")]),
        Just(vec![matcher("__name__", MatcherOp::Regex, "m[12].*")]),
        Just(vec![matcher("job", MatcherOp::NotEqual, "j0"), matcher("__name__", MatcherOp::NotEqual, "m3")]),
        Just(vec![matcher("job", MatcherOp::Regex, "j1|")]),
    ]
}

fn projections() -> [Projection; 5] {
    let names = |names: &[&str]| -> Arc<[String]> { names.iter().map(ToString::to_string).collect() };
    [
        Projection::All,
        Projection::Only(names(&[])),
        Projection::Only(names(&["job", "zone"])),
        Projection::Without(names(&["job"])),
        Projection::Without(names(&[])),
    ]
}

fn span((a, b): (i64, i64)) -> TimeRange {
    TimeRange::new(DAY + 4 * HOUR + a.min(b), DAY + 4 * HOUR + a.max(b))
}

fn passed<'a>(of: impl Iterator<Item = &'a SeriesData>, matchers: &[Matcher]) -> Vec<SeriesData> {
    of.filter(|data| passes(matchers, data.labels.run())).cloned().collect()
}

/// What is left of series after a deletion.
fn without(mut series: Vec<SeriesData>, deletion: &Deletion) -> Vec<SeriesData> {
    for data in series.iter_mut().filter(|data| deletion.concerns(data.labels.run())) {
        for column in &mut data.floats {
            let kept: Vec<(i64, f64)> =
                column.samples().filter(|(ts, _)| !deletion.range.contains(*ts)).collect();
            let (times, values) = kept.into_iter().unzip();
            *column = model::FloatColumn::new(times, values);
        }
        data.starts.retain(|(ts, _)| !deletion.range.contains(*ts));
        data.histograms.retain(|point| !deletion.range.contains(point.timestamp));
    }
    series
}

/// Series of several files as one each.
fn truths(series: Vec<SeriesData>, range: TimeRange) -> BTreeMap<SeriesId, (Labels, Truth)> {
    let mut merged: BTreeMap<SeriesId, SeriesData> = BTreeMap::new();
    for data in series {
        match merged.get_mut(&data.identity()) {
            Some(known) => known.absorb(data),
            None => drop(merged.insert(data.identity(), data)),
        }
    }
    let truth = |data: SeriesData| (data.labels.clone(), Truth::of(&data.merged(), range));
    let truths = merged.into_iter().map(|(id, data)| (id, truth(data)));
    truths.filter(|(_, (_, truth))| *truth != Truth::default()).collect()
}

/// Each projection of the same question gives the series that are expected, and of their labels those that are wanted.
async fn check_answers(
    scan: &Scan,
    matchers: &[Matcher],
    range: TimeRange,
    expected: &BTreeMap<SeriesId, (Labels, Truth)>,
) {
    for projection in projections() {
        let asked = SelectRequest { projection: projection.clone(), ..request(matchers.to_vec(), range) };
        let found = scan.select(&tenant(), &asked).await.unwrap().series;
        let mut ids: Vec<SeriesId> = found.iter().map(SeriesData::identity).collect();
        ids.sort();
        assert!(ids.is_sorted_by(|a, b| a < b), "a series is there twice");
        if projection == Projection::All {
            assert!(found.is_sorted_by(|a, b| a.labels < b.labels));
        }
        for data in found.iter() {
            let (labels, _) = expected.get(&data.identity()).expect("a series that should not be there");
            let wanted = labels.without(|name| !projection.wants(name.as_bytes()));
            assert_eq!(data.labels, wanted, "{projection:?}");
        }
        let found: BTreeMap<SeriesId, Truth> =
            truths(found, range).into_iter().map(|(id, (_, truth))| (id, truth)).collect();
        assert_eq!(found.len(), expected.len(), "{projection:?}");
        for (id, truth) in &found {
            assert_eq!(*truth, expected[id].1, "{projection:?}");
        }
    }
}

async fn check(files: Vec<Given>, matchers: Vec<Matcher>, deleted: ((i64, i64), Vec<Matcher>)) {
    let mut world = World::new().await;
    let mut all: Vec<SeriesData> = Vec::new();
    for (at, given) in files.iter().enumerate() {
        let mut series: Vec<SeriesData> = build(given).into_values().collect();
        for data in &mut series {
            // Which of two conflicting ones holds is another test's business.
            data.starts.clear();
            if at > 0 {
                data.histograms.clear();
            }
        }
        world.options.row_group_rows = given.row_group_rows;
        let blocks = series.iter().map(|data| BlockSeries { shard: 0, data: data.clone() }).collect();
        world.write(blocks).await;
        all.extend(series);
    }
    let ranges = [span(files[0].range), TimeRange::ALL, span(files[0].range)];
    for range in ranges {
        let expected = truths(passed(all.iter(), &matchers), range);
        check_answers(&world.scan, &matchers, range, &expected).await;
        check_answers(&scan_of(&world.bucket), &matchers, range, &expected).await;
    }
    let deletion = Deletion { range: span(deleted.0), selectors: vec![deleted.1] };
    world.table.delete(deletion.clone()).await.unwrap();
    let left = without(all, &deletion);
    for range in ranges {
        let expected = truths(passed(left.iter(), &matchers), range);
        check_answers(&world.scan, &matchers, range, &expected).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_way_to_ask_gives_the_same_series(
        files in prop::collection::vec(given(), 1..4),
        matchers in matchers(),
        range in (0..6 * HOUR, 0..6 * HOUR),
        deleted in matchers(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(files, matchers, (range, deleted)));
    }
}

/// Ten hosts with two metrics each, in as many windows as there are files.
async fn day(n_files: i64) -> World {
    let world = World::new().await;
    for file in 0..n_files {
        let mut series = Vec::new();
        for host in 0..10 {
            let timeline = scrapes(DAY + file * 2 * HOUR + host, 480);
            for name in ["a", "b"] {
                let instance = format!("h{host}");
                let labels = [("__name__", name), ("instance", instance.as_str())];
                series.push(floats(&labels, &timeline, |ts| ts as f64));
            }
        }
        world.write(series).await;
    }
    world
}

#[tokio::test]
async fn files_that_follow_each_other_make_one_column_whose_timestamps_a_target_shares() {
    let world = day(5).await;
    let range = TimeRange::new(DAY + HOUR, DAY + 9 * HOUR);
    let found = world.select(Vec::new(), range).await.series;
    assert_eq!(found.len(), 20);
    for (a, b) in found.iter().zip(&found[10..]) {
        assert_eq!((a.floats.len(), b.floats.len()), (1, 1));
        assert_eq!(a.labels.get("instance"), b.labels.get("instance"));
        assert_eq!(a.floats[0].values.len(), 8 * 240 + usize::from(a.labels.get("instance") == Some("h0")));
        assert!(Arc::ptr_eq(&a.floats[0].timeline, &b.floats[0].timeline));
    }
}

#[tokio::test]
async fn series_that_show_the_same_labels_share_them() {
    let world = day(2).await;
    let projection = Projection::Only([].into());
    let asked = SelectRequest { projection, ..request(vec![is("__name__", "a")], TimeRange::ALL) };
    for _ in 0..2 {
        let found = world.scan.select(&tenant(), &asked).await.unwrap().series;
        assert_eq!(found.len(), 10);
        let first = found[0].labels.run();
        assert!(found.iter().all(|data| std::ptr::eq(data.labels.run(), first)));
    }
}

#[tokio::test]
async fn a_select_asked_again_reads_nothing_and_is_held_against_the_same_limits() {
    let world = day(3).await;
    let asked = |series, samples, bytes| SelectRequest {
        budget: Arc::new(SelectBudget {
            series: Meter::new("max_series", series),
            samples: Meter::new("max_samples", samples),
            bytes: Meter::new("max_bytes", bytes),
            deadline: None,
        }),
        ..request(vec![is("__name__", "a")], TimeRange::ALL)
    };
    let cold = asked(10, 10 * 3 * 480, 0);
    world.scan.select(&tenant(), &cold).await.unwrap();
    world.store.take_requests();
    let warm = asked(10, 10 * 3 * 480, 0);
    world.scan.select(&tenant(), &warm).await.unwrap();
    assert_eq!(world.store.take_requests(), []);
    assert_eq!(warm.budget.bytes.used(), cold.budget.bytes.used(), "what was held for a while is free again");
    let held = warm.budget.bytes.used();
    for (asked, wanted) in [
        (asked(9, 0, 0), "max_series"),
        (asked(0, 10 * 3 * 480 - 1, 0), "max_samples"),
        (asked(0, 0, held - 1), "max_bytes"),
    ] {
        let error = world.scan.select(&tenant(), &asked).await.unwrap_err();
        assert!(matches!(error, SelectError::LimitExceeded { name, .. } if name == wanted), "{error}");
    }
}

#[tokio::test]
async fn a_cache_with_room_for_little_gives_the_same_answers() {
    let world = day(3).await;
    let config = scan::Config { cache_bytes: 20_000, ..scan::Config::default() };
    let deps = scan::Deps {
        bucket: Arc::clone(&world.bucket),
        memory: runtime::MemoryPart::unlimited("scan"),
        clock: runtime::Clock::system(),
    };
    let small = Scan::open(config, deps);
    for matchers in [vec![], vec![is("__name__", "a")], vec![is("instance", "h3")], vec![]] {
        let asked = request(matchers.clone(), TimeRange::new(DAY + HOUR, DAY + 5 * HOUR));
        let found = small.select(&tenant(), &asked).await.unwrap().series;
        let expected = world.scan.select(&tenant(), &asked).await.unwrap().series;
        let samples = |series: &[SeriesData]| -> Vec<(Labels, Vec<(i64, f64)>)> {
            let of = |data: &SeriesData| data.floats.iter().flat_map(|column| column.samples()).collect();
            series.iter().map(|data| (data.labels.clone(), of(data))).collect()
        };
        assert!(!found.is_empty());
        assert_eq!(samples(&found), samples(&expected));
    }
}
