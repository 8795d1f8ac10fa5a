//! What an operator reads about cuts.

use std::cell::RefCell;
use std::fmt;

use testkit::store::{Fault, On};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::world::{START, Truth, World, scrape};

thread_local! {
    /// What this thread logged: each test has a thread of its own, and so has its runtime.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the ingester's lines of level `info` and worse. It serves the whole process: one that was set for a thread
/// would miss every event whose first emission happens to come from a test without it.
struct Lines;

/// The fields of an event as text.
struct Fields(String);

fn take_lines() -> Vec<String> {
    LINES.take()
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ingester") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        LINES.with_borrow_mut(|lines| lines.push(fields.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn each_commit_of_a_cut_is_one_line_and_a_flush_that_failed_a_warning() {
    let world = World::new();
    let node = world.open().await;
    let mut truth = Truth::new();
    node.accept(&mut truth, &scrape(2, 10, START)).await;
    tracing::subscriber::set_global_default(Lines).unwrap();

    world.store.fail(On::Everything, Fault::Refuse, None);
    node.ingester.flush().await.unwrap_err();
    let failed = take_lines();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].starts_with("WARN message=flush that was asked for"), "{failed:?}");

    world.store.heal();
    node.ingester.flush().await.unwrap();
    let committed = take_lines();
    assert_eq!(committed.len(), 1, "{committed:?}");
    let window = format!("window_start_ms={START} ");
    let samples = format!("samples={} ", truth.len());
    for part in
        ["INFO message=cut committed", "tenant=", &window, &samples, "shards=", "bytes=", "version=1 "]
    {
        assert!(committed[0].contains(part), "{part} in {committed:?}");
    }
}
