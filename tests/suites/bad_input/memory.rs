use std::time::Duration;

use system_tests::{Firn, TimeSeries, WriteRequest, now_ms, wait_until};

use super::{expect, start, values};

const LIMIT_MIB: u64 = 64;
/// Series of one request.
const BATCH: usize = 500;

#[test]
fn the_memory_limit_refuses_new_series_by_name_and_holds() {
    let (_dir, mut firn) = start(&[&format!("--memory-limit={LIMIT_MIB}MiB")]);
    let mut pushed = 0;
    let refusal = loop {
        let answer = push(&firn, pushed);
        if answer.status != 204 {
            break answer;
        }
        pushed += 1;
        assert!(pushed < 2_000, "a million series fit into {LIMIT_MIB} MiB?");
        hold(&mut firn, "while series were pushed");
    };
    expect("over the memory limit", &refusal, 503, &["memory_limit"]);
    assert!(refusal.header("retry-after").is_some());
    println!("{} series were taken", pushed * BATCH);
    assert!(pushed * BATCH > 5_000);
    hold(&mut firn, "when pushes were refused");

    assert_eq!(values(&firn, "count(memory{batch=\"0\"})"), [BATCH as f64], "queries are answered");
    for _ in 0..200 {
        push(&firn, pushed);
    }
    hold(&mut firn, "when they were refused again and again");

    firn.flush_all().unwrap();
    hold(&mut firn, "after a flush");
    let accepted = wait_until(Duration::from_secs(30), || {
        let status = push(&firn, pushed).status;
        (status == 204).then_some(())
    });
    assert!(accepted.is_some(), "pushes are refused after a flush, too");
    assert_eq!(values(&firn, "count(memory{batch=\"0\"})"), [BATCH as f64], "what was flushed is there");
    let peak = hold(&mut firn, "at the end");
    println!("peak RSS {} MiB with a limit of {LIMIT_MIB} MiB", peak >> 10);
}

/// A batch of series that nobody has seen, or the same again.
fn push(firn: &Firn, batch: usize) -> system_tests::Answer {
    let mut request = WriteRequest::default();
    let (now, batch) = (now_ms(), batch.to_string());
    for i in 0..BATCH {
        let i = i.to_string();
        let labels = [("__name__", "memory"), ("batch", batch.as_str()), ("job", "churn"), ("n", &i)];
        request.push(&TimeSeries::new(labels).sample(now, 1.0));
    }
    firn.push(&request).unwrap()
}

/// The peak of RSS in KiB, which must be within the limit and a tenth.
fn hold(firn: &mut Firn, when: &str) -> u64 {
    let child = firn.child();
    let peak = child.status_kib("VmHWM").unwrap_or_else(|| panic!("{when}: it is gone:\n{}", child.output()));
    let allowed = (LIMIT_MIB << 10) * 11 / 10;
    assert!(peak <= allowed, "{when}: RSS was {peak} KiB, allowed are {allowed} KiB");
    peak
}
