//! The points of a metric: floats, and histograms as native ones or as one float series per bucket.

use model::{Exemplar, HistogramSample, STALE_NAN};
use wire::RefusalReason;

use super::exemplars::{self, Example};
use super::families::SeriesName;
use super::header::{EXPONENTIAL, GAUGE, HISTOGRAM, SUM, SUMMARY};
use super::histogram::{Explicit, Exponential};
use super::keys::{Key, Unread};
use super::labels::{Attributes, Extra, push_label};
use super::translate::{Metric, Translator};
use crate::canonical::describe;
use crate::histogram::HistogramFault;
use crate::intake::{DecodeError, Found};
use crate::proto::{Malformed, Reader, Wire};
use crate::remote_write::{LARGE_SERIES, stored};

/// What all kinds of points have.
#[derive(Debug, Default)]
pub(super) struct Point {
    unread: Unread,
    /// Stands for the attributes.
    pub(super) key: Key,
    /// Empty until a series of the point turns out not to be known.
    pub(super) attributes: Attributes,
    is_read: bool,
    pub(super) exemplars: Vec<Example>,
    /// Labels of the exemplars.
    pub(super) exemplar_labels: Vec<u8>,
    start_nanos: u64,
    nanos: u64,
    /// There was nothing to be measured: the series has ended.
    pub(super) is_stale: bool,
}

/// Quantile and value.
type Quantiles = Vec<(f64, f64)>;

/// Buffers for the points of histograms and summaries.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    pub(super) explicit: Explicit,
    pub(super) exponential: Exponential,
    quantiles: Quantiles,
    /// Labels of the bounds of the last histogram; the next one mostly has the same.
    bounds: Bounds,
    /// The label of a quantile.
    label: Vec<u8>,
}

/// `le` labels, one for each bound.
#[derive(Debug, Default)]
struct Bounds {
    bits: Vec<u64>,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Point {
    fn clear(&mut self) {
        self.unread.clear();
        self.attributes.clear();
        self.is_read = false;
        self.exemplars.clear();
        self.exemplar_labels.clear();
        (self.start_nanos, self.nanos, self.is_stale) = (0, 0, false);
    }

    /// Takes the attribute in the field that began at `from`.
    #[inline]
    fn attribute(&mut self, from: usize, reader: &mut Reader<'_>, wire: Wire) -> Result<(), Malformed> {
        reader.message(wire)?;
        self.unread.add(from, reader.pos());
        Ok(())
    }

    /// Reads the attributes, if that was not done.
    pub(super) fn read_attributes(&mut self, body: &[u8]) -> Result<(), Malformed> {
        if self.is_read {
            return Ok(());
        }
        self.is_read = true;
        self.unread.read(body, &mut self.attributes)
    }

    /// Takes the fields that have the same number in all kinds of points.
    #[inline]
    fn read_time(&mut self, number: u32, reader: &mut Reader<'_>, wire: Wire) -> Result<(), Malformed> {
        let nanos = reader.double(wire)?.to_bits();
        if number == 2 {
            self.start_nanos = nanos
        } else {
            self.nanos = nanos
        }
        Ok(())
    }

    fn read_flags(&mut self, reader: &mut Reader<'_>, wire: Wire) -> Result<(), Malformed> {
        self.is_stale = reader.uint32(wire)? & 1 == 1;
        Ok(())
    }

    fn timestamp(&self) -> i64 {
        millis(self.nanos)
    }

    fn start_timestamp(&self) -> i64 {
        millis(self.start_nanos)
    }

    /// The value that is stored where there may have been nothing to measure.
    fn value(&self, value: f64) -> f64 {
        if self.is_stale { f64::from_bits(STALE_NAN) } else { stored(value.to_bits()) }
    }
}

fn millis(nanos: u64) -> i64 {
    nanos as i64 / 1_000_000
}

impl<'a> Translator<'a, '_> {
    pub(super) fn point(
        &mut self,
        metric: &Metric,
        message: Reader<'a>,
        point: &mut Point,
    ) -> Result<(), DecodeError> {
        point.clear();
        if message.rest().len() > LARGE_SERIES {
            // A bucket of a few bytes becomes eight, or a series; a character may take six to be written as JSON.
            self.intake.expect_bytes(message.rest().len())?;
        }
        match metric.data {
            GAUGE | SUM => self.number(metric, message, point),
            HISTOGRAM => self.explicit(metric, message, point),
            EXPONENTIAL => self.exponential(metric, message, point),
            SUMMARY => self.summary(metric, message, point),
            _ => Ok(()),
        }
    }

    /// All fields of a point were read.
    #[inline]
    fn complete(&mut self, point: &mut Point) {
        point.key = point.unread.key(self.body, self.intake.rules.seed);
        let (earliest, latest) = self.span.unwrap_or((point.nanos, point.nanos));
        self.span = Some((earliest.min(point.nanos), latest.max(point.nanos)));
    }

    fn number(
        &mut self,
        metric: &Metric,
        mut message: Reader<'a>,
        point: &mut Point,
    ) -> Result<(), DecodeError> {
        let mut value = 0.0;
        while !message.is_done() {
            let at = message.pos();
            let (number, wire) = message.tag()?;
            match number {
                2 | 3 => point.read_time(number, &mut message, wire)?,
                4 => value = message.double(wire)?,
                6 => value = message.double(wire)?.to_bits() as i64 as f64,
                7 => point.attribute(at, &mut message, wire)?,
                // Prometheus keeps none of a gauge.
                5 if metric.data == SUM => self.exemplar(message.message(wire)?, point)?,
                8 => point.read_flags(&mut message, wire)?,
                _ => message.skip(number, wire)?,
            }
        }
        self.complete(point);
        let examples = 0..point.exemplars.len();
        let is_found = self.add_float(point, &metric.family.plain, (Extra::None, &[]), value, examples)?;
        self.points.refused += usize::from(is_found == Some(false));
        Ok(())
    }

    fn summary(
        &mut self,
        metric: &Metric,
        mut message: Reader<'a>,
        point: &mut Point,
    ) -> Result<(), DecodeError> {
        let (mut count, mut sum) = (0, 0.0);
        let mut quantiles = std::mem::take(&mut self.scratch.shapes.quantiles);
        quantiles.clear();
        while !message.is_done() {
            let at = message.pos();
            let (number, wire) = message.tag()?;
            match number {
                2 | 3 => point.read_time(number, &mut message, wire)?,
                4 => count = message.double(wire)?.to_bits(),
                5 => sum = message.double(wire)?,
                6 => quantiles.push(read_quantile(message.message(wire)?)?),
                7 => point.attribute(at, &mut message, wire)?,
                8 => point.read_flags(&mut message, wire)?,
                _ => message.skip(number, wire)?,
            }
        }
        self.complete(point);
        let outcome = self.add_summary(metric, point, (count as f64, sum), &quantiles);
        self.scratch.shapes.quantiles = quantiles;
        outcome
    }

    fn add_summary(
        &mut self,
        metric: &Metric,
        point: &mut Point,
        (count, sum): (f64, f64),
        quantiles: &Quantiles,
    ) -> Result<(), DecodeError> {
        let mut all_found = true;
        for (name, value) in [(&metric.family.sum, sum), (&metric.family.count, count)] {
            let is_found = self.add_float(point, name, (Extra::None, &[]), value, 0..0)?;
            let Some(is_found) = is_found else { return Ok(()) };
            all_found &= is_found;
        }
        let mut label = std::mem::take(&mut self.scratch.shapes.label);
        for (quantile, value) in quantiles {
            label.clear();
            push_label(&mut label, b"quantile", decimal(*quantile).as_bytes());
            let extra = (Extra::Quantile, &label[..]);
            let Some(is_found) = self.add_float(point, &metric.family.plain, extra, *value, 0..0)? else {
                break;
            };
            all_found &= is_found;
        }
        self.scratch.shapes.label = label;
        self.points.refused += usize::from(!all_found);
        Ok(())
    }

    fn explicit(
        &mut self,
        metric: &Metric,
        mut message: Reader<'a>,
        point: &mut Point,
    ) -> Result<(), DecodeError> {
        let mut explicit = std::mem::take(&mut self.scratch.shapes.explicit);
        explicit.clear();
        while !message.is_done() {
            let at = message.pos();
            let (number, wire) = message.tag()?;
            match number {
                2 | 3 => point.read_time(number, &mut message, wire)?,
                4 => explicit.count = message.double(wire)?.to_bits(),
                5 => explicit.sum = Some(message.double(wire)?),
                6 => read_words(&mut message, wire, &mut explicit.counts)?,
                7 => read_words(&mut message, wire, &mut explicit.bounds)?,
                8 => self.exemplar(message.message(wire)?, point)?,
                9 => point.attribute(at, &mut message, wire)?,
                10 => point.read_flags(&mut message, wire)?,
                _ => message.skip(number, wire)?,
            }
        }
        self.complete(point);
        let outcome = match self.intake.rules.limits.otel_convert_histograms_to_nhcb {
            true => {
                let max_buckets = self.intake.rules.limits.max_native_histogram_buckets;
                let histogram = explicit.native(point.is_stale, metric.is_delta, max_buckets);
                self.add_native(metric, point, histogram)
            }
            false => self.add_classic(metric, point, &explicit),
        };
        self.scratch.shapes.explicit = explicit;
        outcome
    }

    /// A histogram as float series: sum, count, and how many observations lie at or below each bound.
    fn add_classic(
        &mut self,
        metric: &Metric,
        point: &mut Point,
        explicit: &Explicit,
    ) -> Result<(), DecodeError> {
        let mut all_found = true;
        let totals =
            [(&metric.family.sum, explicit.sum), (&metric.family.count, Some(explicit.count as f64))];
        for (name, value) in totals {
            let Some(value) = value else { continue };
            let is_found = self.add_float(point, name, (Extra::None, &[]), value, 0..0)?;
            let Some(is_found) = is_found else { return Ok(()) };
            all_found &= is_found;
        }
        let mut bounds = std::mem::take(&mut self.scratch.shapes.bounds);
        bounds.prepare(&explicit.bounds);
        let (mut below, mut first) = (0u64, 0);
        let n_finite = explicit.bounds.len().min(explicit.counts.len());
        for i in 0..=n_finite {
            let is_last = i == n_finite;
            let bound = if is_last { f64::INFINITY } else { f64::from_bits(explicit.bounds[i]) };
            below = if is_last { explicit.count } else { below.wrapping_add(explicit.counts[i]) };
            // Exemplars come in ascending order; each belongs to the first bucket that reaches to it.
            let n = point.exemplars[first..].iter().take_while(|example| is_last || example.value <= bound);
            let examples = first..first + n.count();
            first = examples.end;
            let extra = (Extra::Le, bounds.label(i, is_last));
            let is_found = self.add_float(point, &metric.family.bucket, extra, below as f64, examples)?;
            let Some(is_found) = is_found else { break };
            all_found &= is_found;
        }
        self.scratch.shapes.bounds = bounds;
        self.points.refused += usize::from(!all_found);
        Ok(())
    }

    fn exponential(
        &mut self,
        metric: &Metric,
        mut message: Reader<'a>,
        point: &mut Point,
    ) -> Result<(), DecodeError> {
        let mut exponential = std::mem::take(&mut self.scratch.shapes.exponential);
        exponential.clear();
        while !message.is_done() {
            let at = message.pos();
            let (number, wire) = message.tag()?;
            match number {
                1 => point.attribute(at, &mut message, wire)?,
                2 | 3 => point.read_time(number, &mut message, wire)?,
                4 => exponential.count = message.double(wire)?.to_bits(),
                5 => exponential.sum = message.double(wire)?,
                6 => exponential.scale = message.sint32(wire)?,
                7 => exponential.zero_count = message.double(wire)?.to_bits(),
                8 => exponential.positive.read(message.message(wire)?)?,
                9 => exponential.negative.read(message.message(wire)?)?,
                10 => point.read_flags(&mut message, wire)?,
                11 => self.exemplar(message.message(wire)?, point)?,
                _ => message.skip(number, wire)?,
            }
        }
        self.complete(point);
        let max_buckets = self.intake.rules.limits.max_native_histogram_buckets;
        let histogram = exponential.native(point.is_stale, metric.is_delta, max_buckets);
        self.scratch.shapes.exponential = exponential;
        self.add_native(metric, point, histogram)
    }

    fn add_native(
        &mut self,
        metric: &Metric,
        point: &mut Point,
        histogram: Result<model::Histogram, HistogramFault>,
    ) -> Result<(), DecodeError> {
        let (name, extra) = (&metric.family.plain, (Extra::None, &[][..]));
        let histogram = match histogram {
            Ok(histogram) => Box::new(histogram),
            Err(fault) => {
                if !self.write_run(point, name, extra)? {
                    return Ok(());
                }
                let text = format!("{fault}: {} at {}", describe(&self.scratch.run), point.timestamp());
                self.intake.counts.histograms += 1;
                self.refuse(RefusalReason::InvalidHistogram, || text);
                return Ok(());
            }
        };
        let Some((found, mark)) = self.find(point, name, extra)? else { return Ok(()) };
        let (timestamp, start_timestamp) = (point.timestamp(), point.start_timestamp());
        let sample = HistogramSample { timestamp, start_timestamp, histogram };
        self.intake.columns(&found).histograms.push(sample);
        self.add_exemplars(&found, point, 0..point.exemplars.len());
        self.finish(&found, mark)?;
        self.count_refused(&found);
        Ok(())
    }

    /// Adds a float to a series of the point. False when the series is refused, `None` when the point is.
    #[inline]
    fn add_float(
        &mut self,
        point: &mut Point,
        name: &SeriesName,
        extra: (Extra, &[u8]),
        value: f64,
        examples: std::ops::Range<usize>,
    ) -> Result<Option<bool>, DecodeError> {
        let Some((found, mark)) = self.find(point, name, extra)? else { return Ok(None) };
        let columns = self.intake.columns(&found);
        columns.push_float(point.timestamp(), point.start_timestamp(), point.value(value));
        self.add_exemplars(&found, point, examples);
        self.finish(&found, mark)?;
        Ok(Some(matches!(found, Found::Series(_))))
    }

    fn count_refused(&mut self, found: &Found) {
        self.points.refused += usize::from(matches!(found, Found::Refused(_)));
    }

    fn exemplar(&mut self, message: Reader<'a>, point: &mut Point) -> Result<(), Malformed> {
        self.intake.counts.exemplars += 1;
        match exemplars::read(message, self.body, &mut point.exemplar_labels)? {
            Some(example) => point.exemplars.push(example),
            None => self.intake.counts.exemplars_dropped += 1,
        }
        Ok(())
    }

    /// Adds exemplars of a point. Where nothing was measured there is nothing to give an example of.
    fn add_exemplars(&mut self, found: &Found, point: &Point, examples: std::ops::Range<usize>) {
        if point.is_stale {
            self.intake.counts.exemplars_dropped += examples.len() as u64;
            return;
        }
        for example in &point.exemplars[examples] {
            let (from, to) = example.labels;
            let labels = self.intake.append(&point.exemplar_labels[from..to]);
            let Example { timestamp, value, .. } = *example;
            self.intake.columns(found).exemplars.push(Exemplar { timestamp, value, labels });
        }
    }
}

fn read_quantile(mut message: Reader<'_>) -> Result<(f64, f64), Malformed> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while !message.is_done() {
        let (number, wire) = message.tag()?;
        match number {
            1 => quantile = message.double(wire)?,
            2 => value = message.double(wire)?,
            _ => message.skip(number, wire)?,
        }
    }
    Ok((quantile, value))
}

/// Numbers of eight bytes, packed or one by one.
fn read_words(message: &mut Reader<'_>, wire: Wire, words: &mut Vec<u64>) -> Result<(), Malformed> {
    if wire != Wire::Len {
        words.push(message.double(wire)?.to_bits());
        return Ok(());
    }
    let mut packed = message.message(wire)?;
    words.reserve(packed.rest().len() / 8);
    while !packed.is_done() {
        words.push(packed.fixed64()?);
    }
    Ok(())
}

impl Bounds {
    fn prepare(&mut self, bits: &[u64]) {
        if self.bits == bits && !self.ends.is_empty() {
            return;
        }
        self.ends.clear();
        self.bytes.clear();
        self.bits.clear();
        self.bits.extend_from_slice(bits);
        for bound in bits.iter().map(|bits| f64::from_bits(*bits)).chain([f64::INFINITY]) {
            push_label(&mut self.bytes, b"le", decimal(bound).as_bytes());
            self.ends.push(self.bytes.len() as u32);
        }
    }

    /// The label of the `i`th bound, or of the last bucket, which has none.
    fn label(&self, i: usize, is_last: bool) -> &[u8] {
        let i = if is_last { self.ends.len().saturating_sub(1) } else { i };
        let end = |i: usize| self.ends.get(i).map_or(0, |end| *end as usize);
        let from = if i == 0 { 0 } else { end(i - 1) };
        self.bytes.get(from..end(i)).unwrap_or_default()
    }
}

/// A number without exponent, as it stands in `le` and `quantile`.
fn decimal(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_string(),
        f64::NEG_INFINITY => "-Inf".to_string(),
        _ => value.to_string(),
    }
}
