//! Queries as deep as the parser lets through.

use model::Value;
use promql::MAX_DEPTH;
use testkit::script::Engine;

use crate::memory::Memory;

#[test]
fn the_deepest_query_evaluates_on_the_stack_of_a_worker_thread() {
    let queries = [
        format!("1{}", " + 1".repeat(MAX_DEPTH - 1)),
        format!("vector(1){}", " + vector(1)".repeat(MAX_DEPTH / 2)),
        format!("{}vector(1){}", "sum(".repeat(95), ")".repeat(95)),
        format!("{}vector(1){}", "abs(-(".repeat(32), "))".repeat(32)),
        format!("{}vector(1){}", "sum_over_time(".repeat(40), "[1m:1m])".repeat(40)),
    ];
    let check = move || {
        for query in queries {
            let outcome = Memory::default().instant(&query, 0);
            assert!(
                matches!(outcome.map(|o| o.value), Ok(Value::Scalar { .. } | Value::Vector(_))),
                "{query}"
            );
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(check).unwrap().join().unwrap();
}
