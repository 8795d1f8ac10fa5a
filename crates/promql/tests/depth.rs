//! Queries as deep as the parser lets through.

use model::Value;
use promql::MAX_CHAIN;
use testkit::script::Engine;

use crate::memory::Memory;

/// A chain is as long as the text says, and what is left of it in the end is the last operation.
#[test]
fn a_long_chain_means_what_a_short_one_means() {
    let at_once = |chain: &str, first: &str, n: usize| {
        let query = format!("{first}{}", chain.repeat(n));
        Memory::default().instant(&query, 7_000).map(|outcome| outcome.value).unwrap()
    };
    let in_parens = |chain: &str, first: &str, n: usize| {
        // In parentheses every ten operations, it is no long one.
        let tens = (0..n / 10).fold(first.to_string(), |text, _| format!("({text}{})", chain.repeat(10)));
        Memory::default().instant(&tens, 7_000).map(|outcome| outcome.value).unwrap()
    };
    let chains = [
        (" + 1.5", "time()"),
        (" + 1.5", "vector(time())"),
        (" + vector(1.5)", "vector(time())"),
        (" - 0.5 + vector(1.5)", "time()"),
        (" * 1.5 > bool 4 or vector(3) unless on (a) vector(4)", "vector(1)"),
    ];
    for (chain, first) in chains {
        let (long, short) = (at_once(chain, first, 200), in_parens(chain, first, 200));
        assert_eq!(format!("{long:?}"), format!("{short:?}"), "{first}{chain}");
    }
}

#[test]
fn the_deepest_query_evaluates_on_the_stack_of_a_worker_thread() {
    let queries = [
        format!("1{}", " + 1".repeat(MAX_CHAIN)),
        format!("vector(1){}", " + vector(1)".repeat(MAX_CHAIN)),
        format!("vector(1){}", " or vector(2)".repeat(MAX_CHAIN)),
        format!("1{}", " * 1 - vector(1) ^ 2".repeat(MAX_CHAIN / 2)),
        format!("sum(vector(1){})", " * 2 / 2".repeat(MAX_CHAIN / 2)),
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
