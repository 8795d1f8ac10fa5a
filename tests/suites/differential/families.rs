//! The metrics of the test, each made to reach rules of the language that others do not.

use std::collections::BTreeMap;

use system_tests::NativeHistogram;

use super::data::{SLAB_MS, SPAN_MS, Series, Value, stale, stale_histogram};
use super::dice::Dice;
use super::varied::{Kind, Varied};

/// How the values of a float series go on.
#[derive(Debug, Clone, Copy)]
enum Walk {
    /// Up and down.
    Gauge,
    /// Up, by fractions, with resets.
    Counter,
    /// Up, by whole numbers, with resets.
    Whole,
    /// One of a few whole numbers.
    State(i64),
    /// Doubles at their limits.
    Weird,
    /// A straight line with little noise.
    Line,
    /// Always the same.
    Constant(f64),
}

/// What a histogram counts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// Whole counts, with resets.
    Counter,
    /// Fractions, with resets.
    Float,
    /// Goes up and down and says so.
    Gauge,
    /// Like a counter, with observations of NaN: the sum is one.
    NotNumbers,
}

/// When a series is sampled.
#[derive(Debug, Clone, Copy)]
struct Scrapes {
    every_ms: i64,
    shift_ms: i64,
    /// Percent of scrapes after which there is a gap.
    gaps: usize,
}

const ON_TIME: Scrapes = Scrapes { every_ms: 30_000, shift_ms: 0, gaps: 0 };
const SHIFTED: Scrapes = Scrapes { every_ms: 15_000, shift_ms: 3_217, gaps: 1 };
const SPARSE: Scrapes = Scrapes { every_ms: 60_000, shift_ms: 500, gaps: 4 };

const JOBS: [&str; 3] = ["api", "db", "web"];
const INSTANCES: [&str; 2] = ["h1:80", "h2:80"];
const CODES: [&str; 3] = ["200", "404", "500"];

/// Every series.
pub(super) fn all(dice: &mut Dice, from_ms: i64) -> Vec<Series> {
    let mut maker = Maker { dice, from_ms, made: Vec::new() };
    maker.floats();
    maker.named();
    maker.classic();
    maker.native();
    maker.custom();
    maker.mixed();
    maker.infos();
    maker.varied();
    maker.made
}

struct Maker<'a> {
    dice: &'a mut Dice,
    from_ms: i64,
    made: Vec<Series>,
}

impl Maker<'_> {
    fn floats(&mut self) {
        for job in JOBS {
            for instance in INSTANCES {
                let target = [("job", job), ("instance", instance)];
                self.float("temperature", &target, Walk::Gauge, SHIFTED);
                self.float("queue_length", &target, Walk::State(6), ON_TIME);
                self.float("up", &target, Walk::State(2), SPARSE);
                self.float("disk_free_bytes", &target, Walk::Line, ON_TIME);
                for code in CODES {
                    let labels = [target[0], target[1], ("code", code)];
                    self.float("requests_total", &labels, Walk::Whole, SHIFTED);
                }
                for mode in ["idle", "user"] {
                    let labels = [target[0], target[1], ("mode", mode)];
                    self.float("cpu_seconds_total", &labels, Walk::Counter, ON_TIME);
                }
            }
        }
        for (i, zone) in ["a", "b", "c", ""].into_iter().enumerate() {
            self.float("weird", &[("zone", zone), ("job", "api")], Walk::Weird, SPARSE);
            self.float("one", &[("zone", zone)], Walk::Constant(1.0), ON_TIME);
            self.float("constant", &[("zone", zone)], Walk::Constant(i as f64 * 1.1 - 1.0), SPARSE);
        }
    }

    /// Names that are out of the ordinary, and labels that mean something.
    fn named(&mut self) {
        self.float("größe.in-m²", &[("path/to", "a b"), ("job", "api")], Walk::Gauge, ON_TIME);
        self.float("größe.in-m²", &[("path/to", "\"quoted\"\\"), ("job", "db")], Walk::Gauge, ON_TIME);
        for (kind, unit) in
            [("counter", "seconds"), ("counter", "bytes"), ("gauge", "seconds"), ("gauge", "")]
        {
            let labels = [("__type__", kind), ("__unit__", unit), ("job", "web")];
            self.float("typed_total", &labels, Walk::Counter, ON_TIME);
            self.float("typed", &labels, Walk::Gauge, SHIFTED);
        }
    }

    /// Classic histograms: good ones, and one whose buckets are neither in order nor all readable.
    fn classic(&mut self) {
        for job in JOBS {
            let mut counts = [0.0; 5];
            let times = self.times(ON_TIME);
            let mut buckets: Vec<Vec<(i64, Value)>> = vec![Vec::new(); 6];
            let mut sum = Vec::new();
            for at in times {
                let reset = self.dice.percent(2);
                let mut below = 0.0;
                for (i, count) in counts.iter_mut().enumerate() {
                    let more = self.dice.below(5) as f64;
                    *count = if reset { 0.0 } else { *count + more };
                    below += *count;
                    buckets[i].push((at, Value::Float(below)));
                }
                buckets[5].push((at, Value::Float(below)));
                sum.push((at, Value::Float(below * 0.37)));
            }
            for (i, le) in ["0.1", "0.5", "1", "2.5", "+Inf"].into_iter().enumerate() {
                let labels = [("job", job), ("le", le)];
                self.push("latency_seconds_bucket", &labels, buckets[i].clone());
            }
            self.push("latency_seconds_count", &[("job", job)], buckets[5].clone());
            self.push("latency_seconds_sum", &[("job", job)], sum);
        }
        for le in ["-1", "0.5", "1", "ten", "", "+Inf"] {
            self.float("broken_bucket", &[("job", "api"), ("le", le)], Walk::Gauge, ON_TIME);
        }
        for le in ["1", "1.0", "2", "+Inf"] {
            self.float("doubled_bucket", &[("job", "doubled"), ("le", le)], Walk::Whole, ON_TIME);
        }
        for le in ["1", "2"] {
            self.float("endless_bucket", &[("job", "db"), ("le", le)], Walk::Whole, ON_TIME);
        }
    }

    fn native(&mut self) {
        for (i, job) in JOBS.into_iter().enumerate() {
            for instance in INSTANCES {
                let labels = [("job", job), ("instance", instance)];
                // Schemas differ by job.
                self.histogram("native", &labels, Shape::Counter, i as i32, ON_TIME);
                self.histogram("native_float", &labels, Shape::Float, 2 - i as i32, SHIFTED);
                self.histogram("native_gauge", &labels, Shape::Gauge, i as i32, SPARSE);
            }
        }
        self.histogram("native_nan", &[("job", "api")], Shape::NotNumbers, 1, ON_TIME);
        self.histogram("native_nan", &[("job", "db")], Shape::NotNumbers, 0, ON_TIME);
        // The same family as the classic one.
        for job in ["api", "db"] {
            self.histogram("latency_seconds", &[("job", job)], Shape::Counter, 3, ON_TIME);
            self.histogram("latency_seconds_bucket", &[("job", job)], Shape::Counter, 3, ON_TIME);
        }
    }

    fn custom(&mut self) {
        let bounds: [&[f64]; 3] = [&[0.1, 0.5, 1.0, 2.5], &[0.1, 1.0, 5.0], &[-1.0, 0.0, 7.0, 8.0, 9.0]];
        for (i, job) in JOBS.into_iter().enumerate() {
            let points = self.custom_points(bounds[i], i == 2, ON_TIME);
            self.push("native_custom", &[("job", job)], points);
        }
        // Bounds change on the way.
        let mut points = self.custom_points(bounds[0], false, SPARSE);
        let other = self.custom_points(bounds[1], false, SPARSE);
        let half = self.from_ms + SPAN_MS / 2;
        points.retain(|(at, _)| *at < half);
        points.extend(other.into_iter().filter(|(at, _)| *at >= half));
        self.push("native_custom_changing", &[("job", "api")], points);
    }

    /// Floats and histograms in one series, and exponential and custom buckets in one.
    fn mixed(&mut self) {
        for job in ["api", "db"] {
            let floats = self.walk(Walk::Whole, ON_TIME);
            let histograms = self.histogram_points(Shape::Counter, 1, ON_TIME);
            let customs = self.custom_points(&[1.0, 2.0], false, ON_TIME);
            let mut points = Vec::new();
            let mut kind = 0;
            for ((float, histogram), custom) in floats.into_iter().zip(histograms).zip(customs) {
                if self.dice.percent(12) {
                    kind = self.dice.below(if job == "api" { 2 } else { 3 });
                }
                points.push(match kind {
                    0 => float,
                    1 => histogram,
                    _ => custom,
                });
            }
            self.push("mixed", &[("job", job)], points);
            self.float("mixed", &[("job", job), ("kind", "float")], Walk::Gauge, ON_TIME);
        }
    }

    /// What `info()` joins; the version changes on the way.
    fn infos(&mut self) {
        for job in JOBS {
            for instance in INSTANCES {
                let half = self.from_ms + self.dice.between(SPAN_MS / 4, SPAN_MS * 3 / 4);
                for (version, early) in [("1.0", true), ("2.0", false)] {
                    let labels =
                        [("job", job), ("instance", instance), ("version", version), ("env", "prod")];
                    let first = self.from_ms;
                    let mut points = self.walk(Walk::Constant(1.0), ON_TIME);
                    points.retain(|(at, _)| *at == first || (*at < half) == early);
                    self.push("target_info", &labels, points);
                }
                let labels = [("job", job), ("instance", instance), ("build", "b7"), ("region", "eu")];
                self.float("build_info", &labels, Walk::Constant(1.0), ON_TIME);
            }
        }
    }

    /// Histograms whose layout changes, with stale markers of both kinds after gaps.
    fn varied(&mut self) {
        let families = [
            ("native_varied", Kind::Counter),
            ("native_varied_gauge", Kind::Gauge),
            ("native_varied_custom", Kind::Custom),
        ];
        for (name, kind) in families {
            for job in JOBS {
                let points = self.varied_points(kind, Scrapes { gaps: 3, ..ON_TIME });
                self.push(name, &[("job", job)], points);
            }
        }
    }

    fn varied_points(&mut self, kind: Kind, scrapes: Scrapes) -> Vec<(i64, Value)> {
        let mut varied = Varied::new(kind, self.dice);
        let mut points: Vec<(i64, Value)> = Vec::new();
        for at in self.times(scrapes) {
            let gone_at = points.last().map(|(last, _)| last + scrapes.every_ms).filter(|gone| *gone < at);
            if let Some(gone_at) = gone_at {
                // Prometheus loses a marker that is a float and the first of its series in a request, where histograms
                // follow: it makes a histogram of it, and puts it behind them.
                let is_first = (gone_at - self.from_ms) % SLAB_MS < scrapes.every_ms;
                match self.dice.below(3) {
                    0 if is_first => {}
                    0 => points.push((gone_at, stale())),
                    1 => points.push((gone_at, stale_histogram())),
                    _ => {}
                }
            }
            points.push((at, Value::Histogram(varied.next(self.dice))));
        }
        points
    }

    fn float(&mut self, name: &str, labels: &[(&'static str, &str)], walk: Walk, scrapes: Scrapes) {
        let points = self.walk(walk, scrapes);
        self.push(name, labels, points);
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&'static str, &str)],
        shape: Shape,
        schema: i32,
        scrapes: Scrapes,
    ) {
        let points = self.histogram_points(shape, schema, scrapes);
        self.push(name, labels, points);
    }

    fn push(&mut self, name: &str, labels: &[(&'static str, &str)], points: Vec<(i64, Value)>) {
        let mut labels: Vec<(&'static str, String)> = labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (*name, (*value).to_string()))
            .collect();
        labels.push(("__name__", name.to_string()));
        labels.sort();
        self.made.push(Series { labels, points });
    }

    fn times(&mut self, scrapes: Scrapes) -> Vec<i64> {
        let mut at = self.from_ms + scrapes.shift_ms;
        let mut times = Vec::new();
        while at < self.from_ms + SPAN_MS {
            times.push(at);
            let is_gap = self.dice.percent(scrapes.gaps);
            at += scrapes.every_ms * if is_gap { self.dice.between(2, 25) } else { 1 };
        }
        times
    }

    fn walk(&mut self, walk: Walk, scrapes: Scrapes) -> Vec<(i64, Value)> {
        let times = self.times(scrapes);
        let mut value = self.dice.unit() * 100.0;
        let mut points: Vec<(i64, Value)> = Vec::new();
        for (i, at) in times.into_iter().enumerate() {
            let long_ago = points.last().is_some_and(|(last, _)| at - last > scrapes.every_ms);
            if long_ago && self.dice.percent(60) {
                let last = points.last().map_or(at, |(last, _)| *last);
                points.push((last + scrapes.every_ms, stale()));
            }
            value = self.next(walk, value, i);
            points.push((at, Value::Float(value)));
        }
        points
    }

    fn next(&mut self, walk: Walk, value: f64, i: usize) -> f64 {
        match walk {
            Walk::Gauge => value + (self.dice.unit() - 0.5) * 10.0,
            Walk::Counter if self.dice.percent(2) => self.dice.unit(),
            Walk::Counter => value + self.dice.unit() * 3.0,
            Walk::Whole if self.dice.percent(2) => 0.0,
            Walk::Whole => value.trunc() + self.dice.below(20) as f64,
            Walk::State(n) => self.dice.between(0, n - 1) as f64,
            Walk::Line => 1e9 - i as f64 * 1234.5 + self.dice.unit(),
            Walk::Constant(value) => value,
            Walk::Weird => {
                let all =
                    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e300, -1e300, 5e-324, 1e-7];
                if self.dice.percent(50) { self.dice.pick(&all) } else { (self.dice.unit() - 0.5) * 4.0 }
            }
        }
    }

    fn histogram_points(&mut self, shape: Shape, schema: i32, scrapes: Scrapes) -> Vec<(i64, Value)> {
        let times = self.times(scrapes);
        let middle = self.dice.between(-3, 6) as i32;
        // A series has the same buckets always, none of them empty: Prometheus's chunks give a histogram the buckets of
        // later ones, which shows in the interpolation of the zero bucket, and where nothing is divided by nothing.
        let is_signed = self.dice.percent(50);
        let indices: Vec<i32> = (middle - 4..=middle + 4).filter(|_| self.dice.percent(60)).collect();
        let indices = if indices.is_empty() { vec![middle] } else { indices };
        let side = |is_there: bool| -> BTreeMap<i32, f64> {
            indices.iter().filter(|_| is_there).map(|index| (*index, 1.0)).collect()
        };
        let (mut positive, mut negative) = (side(true), side(is_signed));
        let (mut zero, mut sum) = (0.0, 0.0);
        let mut points = Vec::new();
        for at in times {
            if shape == Shape::Gauge || self.dice.percent(2) {
                (positive, negative) = (side(true), side(is_signed));
                (zero, sum) = (0.0, 0.0);
            }
            for _ in 0..self.dice.below(6) {
                let n =
                    if shape == Shape::Float { self.dice.unit() * 4.0 } else { self.dice.below(4) as f64 };
                let index = self.dice.pick(&indices);
                let is_negative = is_signed && self.dice.percent(25);
                let side = if is_negative { &mut negative } else { &mut positive };
                *side.entry(index).or_insert(0.0) += n;
                sum += n * self.dice.unit() * if is_negative { -1.0 } else { 1.0 };
            }
            zero += self.dice.below(2) as f64;
            let histogram = shaped(shape, schema, &positive, &negative, (zero, sum));
            points.push((at, Value::Histogram(histogram)));
        }
        points
    }

    fn custom_points(&mut self, bounds: &[f64], is_float: bool, scrapes: Scrapes) -> Vec<(i64, Value)> {
        let first: BTreeMap<i32, f64> = (0..=bounds.len() as i32).map(|index| (index, 1.0)).collect();
        let mut positive = first.clone();
        let mut points = Vec::new();
        for at in self.times(scrapes) {
            if self.dice.percent(3) {
                positive = first.clone();
            }
            for _ in 0..self.dice.below(5) {
                let index = self.dice.between(0, bounds.len() as i64) as i32;
                let n = if is_float { self.dice.unit() } else { self.dice.below(5) as f64 };
                *positive.entry(index).or_insert(0.0) += n;
            }
            let count: f64 = positive.values().sum();
            points.push((
                at,
                Value::Histogram(NativeHistogram {
                    is_float,
                    count,
                    sum: count * 0.7,
                    schema: -53,
                    positive: positive.clone(),
                    custom_values: bounds.to_vec(),
                    ..NativeHistogram::default()
                }),
            ));
        }
        points
    }
}

fn shaped(
    shape: Shape,
    schema: i32,
    positive: &BTreeMap<i32, f64>,
    negative: &BTreeMap<i32, f64>,
    (zero_count, sum): (f64, f64),
) -> NativeHistogram {
    let in_buckets: f64 = positive.values().sum::<f64>() + negative.values().sum::<f64>() + zero_count;
    let is_nan = shape == Shape::NotNumbers;
    NativeHistogram {
        is_float: shape == Shape::Float,
        count: in_buckets + if is_nan { 3.0 } else { 0.0 },
        sum: if is_nan { f64::NAN } else { sum },
        schema,
        zero_threshold: if schema == 1 { 0.001 } else { 0.01 },
        zero_count,
        positive: positive.clone(),
        negative: negative.clone(),
        custom_values: Vec::new(),
        reset_hint: if shape == Shape::Gauge { 3 } else { 0 },
    }
}
