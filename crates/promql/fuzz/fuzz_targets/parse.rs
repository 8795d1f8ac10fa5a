//! Any text as a PromQL expression: no panic, and what parses prints as something that parses to the same print.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(expr) = promql::parse(text) {
        let printed = expr.to_string();
        let again = promql::parse(&printed).expect("what was printed parses");
        assert_eq!(again.to_string(), printed);
    }
});
