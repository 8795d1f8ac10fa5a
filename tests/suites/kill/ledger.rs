//! What a client pushed, what was acknowledged of it, and whether exactly that can be queried.

mod beside;

use std::collections::{BTreeMap, BTreeSet};

use system_tests::{Answer, NativeHistogram, Samples, Surface, TimeSeries, WriteRequest, push};

/// Targets, so that a push has a part in each shard.
const JOBS: u64 = 6;

/// A sequence of pushes whose every sample follows from its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// Its name among the streams of a test.
    pub(super) id: u64,
    /// Time of the first push.
    pub(super) base_ms: i64,
    /// Time from one push to the next.
    pub(super) step_ms: i64,
}

/// A client's memory of a stream.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) stream: Stream,
    next: u64,
    acknowledged: BTreeSet<u64>,
    /// Sent, and the answer never came: it may be there, whole or in part.
    in_doubt: BTreeSet<u64>,
    /// Samples of pushes that were sent again.
    n_sent_again: usize,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    /// Samples acknowledged, all of them found.
    pub(super) acknowledged: usize,
    /// Samples that can be queried.
    pub(super) stored: usize,
}

/// A sample: series, time, bits (of a histogram, of its count).
type Sample = (String, i64, u64);

impl Stream {
    fn timestamp(&self, n: u64) -> i64 {
        self.base_ms + n as i64 * self.step_ms
    }

    fn floats(&self, n: u64) -> Vec<(Vec<(String, String)>, f64)> {
        let stream = self.id.to_string();
        let labels = |job: u64, more: &[(&str, &str)]| {
            let mut labels = vec![("__name__".to_string(), "kill".to_string())];
            labels.push(("job".to_string(), format!("j{job}")));
            labels.extend(more.iter().map(|(name, value)| (name.to_string(), value.to_string())));
            labels.push(("stream".to_string(), stream.clone()));
            labels
        };
        let mut floats = Vec::new();
        for job in 0..JOBS {
            floats.push((labels(job, &[("kind", "integer")]), (n * 7 + job) as f64));
            floats.push((labels(job, &[("kind", "decimal")]), (n * 37 + job) as f64 * 0.1));
        }
        // A series of its own in each push, long enough to fill segments of the log.
        let (number, pad) = (n.to_string(), "x".repeat(700 + n as usize % 600));
        floats.push((labels(n % JOBS, &[("kind", "churn"), ("n", &number), ("pad", &pad)]), n as f64));
        floats
    }

    fn histogram(&self, n: u64) -> Option<(Vec<(String, String)>, NativeHistogram)> {
        if n % 4 != 1 {
            return None;
        }
        let labels = [("__name__", "kill_h"), ("job", "j1"), ("stream", &self.id.to_string())];
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let counts = [(-2, n as f64), (0, 3.0), (1, 2.0 * n as f64)];
        let histogram = NativeHistogram {
            count: 3.0 * n as f64 + 4.0,
            sum: n as f64 * 0.25,
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: 1.0,
            positive: BTreeMap::from(counts),
            ..NativeHistogram::default()
        };
        Some((labels, histogram))
    }

    /// Every fifth push is text, the others are remote write.
    fn is_text(n: u64) -> bool {
        n % 5 == 4
    }

    fn samples(&self, n: u64) -> Vec<Sample> {
        let at = self.timestamp(n);
        let floats = self.floats(n).into_iter().map(|(labels, value)| (key(labels), at, value.to_bits()));
        let histogram = self.histogram(n).filter(|_| !Stream::is_text(n));
        floats.chain(histogram.map(|(labels, h)| (key(labels), at, h.count.to_bits()))).collect()
    }

    fn send(&self, url: &str, n: u64) -> Result<Answer, String> {
        let at = self.timestamp(n);
        if Stream::is_text(n) {
            let mut text = String::new();
            for (labels, value) in self.floats(n) {
                let labels: Vec<String> =
                    labels[1..].iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
                text.push_str(&format!("kill{{{}}} {value} {at}\n", labels.join(",")));
            }
            return system_tests::post(&format!("{url}/api/v1/import/prometheus"), &[], text.as_bytes());
        }
        let mut request = WriteRequest::default();
        for (labels, value) in self.floats(n) {
            request.push(&series(&labels).sample(at, value));
        }
        if let Some((labels, histogram)) = self.histogram(n) {
            request.push(&series(&labels).histogram(at, &histogram));
        }
        self.add_beside(n, &mut request);
        push(url, None, &request)
    }

    fn end_ms(&self, n: u64) -> i64 {
        self.timestamp(n)
    }
}

impl Ledger {
    pub(super) fn new(stream: Stream) -> Ledger {
        Ledger { stream, next: 0, acknowledged: BTreeSet::new(), in_doubt: BTreeSet::new(), n_sent_again: 0 }
    }

    /// Pushes what was in doubt, as a sender does, or else the next. `Ok(false)` when nobody answered; an error is an
    /// answer that no sender should get.
    pub(super) fn push(&mut self, url: &str) -> Result<bool, String> {
        let n = self.in_doubt.first().copied().unwrap_or(self.next);
        if n < self.next {
            self.n_sent_again += self.stream.samples(n).len();
        }
        self.next = self.next.max(n + 1);
        self.in_doubt.insert(n);
        match self.stream.send(url, n) {
            Ok(answer) if answer.status == 204 => {
                self.in_doubt.remove(&n);
                self.acknowledged.insert(n);
                Ok(true)
            }
            // To be sent again; what a stopping server answers.
            Ok(answer) if answer.status == 503 => Ok(true),
            Ok(answer) => Err(format!("push {n} was answered {}: {}", answer.status, answer.body)),
            Err(_) => Ok(false),
        }
    }

    /// Sends the push in doubt once more, for its answer.
    pub(super) fn send_again(&self, url: &str) -> Result<Answer, String> {
        let n = self.in_doubt.first().copied().unwrap_or(self.next);
        self.stream.send(url, n)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.in_doubt.is_empty()
    }

    pub(super) fn n_sent_again(&self) -> usize {
        self.n_sent_again
    }

    pub(super) fn n_acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Compares everything acknowledged with what can be queried: it is there once, with its bits, and nothing else
    /// is there that was not at least sent.
    pub(super) fn check(&self, firn: &Surface) -> Result<Count, String> {
        let id = self.stream.id;
        let selector = format!("{{__name__=~\"kill|kill_h\",stream=\"{id}\"}}");
        let (from, to) = (self.stream.base_ms, self.stream.end_ms(self.next));
        let found = firn.samples(&selector, from, to)?;
        let count = self.compare(&found)?;
        self.check_beside(firn)?;
        let range = to - from + 1;
        let at = system_tests::seconds(to);
        let counted = match count.stored {
            0 => 0.0,
            _ => firn.number(&format!("sum(count_over_time({selector}[{range}ms]))"), &at)?,
        };
        if counted != count.stored as f64 {
            return Err(format!("count_over_time counts {counted}, the selector shows {}", count.stored));
        }
        Ok(count)
    }

    fn compare(&self, found: &Samples) -> Result<Count, String> {
        let mut stored: BTreeMap<&str, BTreeMap<i64, u64>> = BTreeMap::new();
        let mut count = Count::default();
        for (series, samples) in found {
            let at_times = stored.entry(series).or_default();
            for (at, bits) in samples {
                count.stored += 1;
                if at_times.insert(*at, *bits).is_some() {
                    return Err(format!("twice in a result: {} at {at}", short(series)));
                }
            }
        }
        let mut take = |series: &str, at: i64| stored.get_mut(series)?.remove(&at);
        let mut lost = Vec::new();
        for &n in &self.acknowledged {
            for (series, at, bits) in self.stream.samples(n) {
                match take(&series, at) {
                    Some(found) if found == bits => count.acknowledged += 1,
                    Some(found) => {
                        let (value, found) = (f64::from_bits(bits), f64::from_bits(found));
                        return Err(format!(
                            "push {n}: {} is {found}, was pushed as {value}",
                            short(&series)
                        ));
                    }
                    None => lost.push((n, series)),
                }
            }
        }
        if let Some((n, series)) = lost.first() {
            let pushes: BTreeSet<u64> = lost.iter().map(|(n, _)| *n).collect();
            return Err(format!(
                "LOST: {} acknowledged samples of {} pushes out of {}, first {} of push {n}; pushes {:?}",
                lost.len(),
                pushes.len(),
                self.acknowledged.len(),
                short(series),
                pushes.iter().take(20).collect::<Vec<_>>()
            ));
        }
        for &n in &self.in_doubt {
            for (series, at, bits) in self.stream.samples(n) {
                if take(&series, at).is_some_and(|found| found != bits) {
                    return Err(format!("push {n}, never acknowledged, is there with another value"));
                }
            }
        }
        let mut unknown =
            stored.iter().filter_map(|(series, at_times)| Some((series, at_times.keys().next()?)));
        match unknown.next() {
            Some((series, at)) => Err(format!("never sent: {} at {at}", short(series))),
            None => Ok(count),
        }
    }
}

fn series(labels: &[(String, String)]) -> TimeSeries {
    TimeSeries::new(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn key(labels: Vec<(String, String)>) -> String {
    serde_json::to_string(&BTreeMap::from_iter(labels)).unwrap()
}

fn short(series: &str) -> String {
    series.replace("xxxxxxxxxx", "")
}

#[test]
fn the_ledger_notices_what_it_is_there_for() {
    let mut ledger = Ledger::new(Stream { id: 0, base_ms: 1_000, step_ms: 10 });
    ledger.acknowledged.extend([0, 1]);
    ledger.in_doubt.insert(2);
    let found = |pushes: &[u64]| {
        let mut found = Samples::new();
        for (series, at, bits) in pushes.iter().flat_map(|n| ledger.stream.samples(*n)) {
            found.entry(series).or_default().push((at, bits));
        }
        found
    };
    assert!(ledger.compare(&found(&[0, 1])).is_ok());
    assert!(ledger.compare(&found(&[0, 1, 2])).is_ok());
    assert!(ledger.compare(&found(&[0, 2])).unwrap_err().contains("LOST: 14 acknowledged"));
    assert!(ledger.compare(&found(&[0, 1, 1])).unwrap_err().contains("twice"));
    assert!(ledger.compare(&found(&[0, 1, 3])).unwrap_err().contains("never sent"));
    let mut other = found(&[0, 1]);
    other.values_mut().next().unwrap()[0].1 ^= 1;
    assert!(ledger.compare(&other).unwrap_err().contains("was pushed as"));
}
