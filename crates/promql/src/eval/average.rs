use crate::histogram::{Combined, FloatHistogram, HistogramOpError, kahan_inc};

/// The mean of floats: their compensated sum over their number, as long as the sum is finite; from there on a
/// running mean.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    count: f64,
    /// The sum, or the mean once `is_running`.
    value: f64,
    compensation: f64,
    is_running: bool,
}

impl Mean {
    /// Of so many floats with this sum.
    pub(super) fn of_sum(count: f64, value: f64, compensation: f64) -> Mean {
        Mean { count, value, compensation, is_running: false }
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.value = value;
            return;
        }
        if !self.is_running {
            let (sum, compensation) = kahan_inc(value, self.value, self.compensation);
            if !sum.is_infinite() {
                (self.value, self.compensation) = (sum, compensation);
                return;
            }
            self.is_running = true;
            self.value /= self.count - 1.0;
            self.compensation /= self.count - 1.0;
        }
        let kept = (self.count - 1.0) / self.count;
        (self.value, self.compensation) =
            kahan_inc(value / self.count, kept * self.value, kept * self.compensation);
    }

    /// Takes in what another mean was made of.
    pub(crate) fn merge(&mut self, other: &Mean) {
        if other.count == 0.0 || self.count == 0.0 {
            if self.count == 0.0 {
                *self = *other;
            }
            return;
        }
        let count = self.count + other.count;
        if !self.is_running && !other.is_running {
            let (sum, compensation) = kahan_inc(other.value, self.value, self.compensation);
            if !sum.is_infinite() {
                *self = Mean {
                    count,
                    value: sum,
                    compensation: compensation + other.compensation,
                    is_running: false,
                };
                return;
            }
        }
        let (own, other) = (self.running(), other.running());
        let (own_part, other_part) = (own.count / count, other.count / count);
        let (value, compensation) =
            kahan_inc(other.value * other_part, own.value * own_part, own.compensation * own_part);
        let compensation =
            if value.is_finite() { compensation + other.compensation * other_part } else { compensation };
        *self = Mean { count, value, compensation, is_running: true };
    }

    fn running(&self) -> Mean {
        match self.is_running {
            true => *self,
            false => Mean {
                value: self.value / self.count,
                compensation: self.compensation / self.count,
                is_running: true,
                ..*self
            },
        }
    }

    pub(crate) fn get(&self) -> f64 {
        match self.is_running {
            true => self.value + self.compensation,
            false => self.value / self.count + self.compensation / self.count,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0.0
    }
}

/// The mean of histograms, made like that of floats.
#[derive(Debug, Clone)]
pub(crate) struct HistogramMean {
    count: f64,
    value: FloatHistogram,
    compensation: Option<FloatHistogram>,
    is_running: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: &FloatHistogram) -> HistogramMean {
        HistogramMean { count: 1.0, value: first.clone(), compensation: None, is_running: false }
    }

    pub(crate) fn add(&mut self, histogram: &FloatHistogram) -> Result<Combined, HistogramOpError> {
        self.count += 1.0;
        if !self.is_running {
            let (mut sum, mut compensation) = (self.value.clone(), self.compensation.clone());
            let combined = sum.kahan_add(histogram, &mut compensation)?;
            if !sum.has_overflow() {
                (self.value, self.compensation) = (sum, compensation);
                return Ok(combined);
            }
            self.is_running = true;
            self.scale(|histogram, count| histogram.div(count - 1.0));
        }
        self.scale(|histogram, count| histogram.mul((count - 1.0) / count));
        let mut part = histogram.clone();
        part.div(self.count);
        self.value.kahan_add(&part, &mut self.compensation)
    }

    /// Takes in what another mean was made of.
    pub(crate) fn merge(&mut self, mut other: HistogramMean) -> Result<Combined, HistogramOpError> {
        let count = self.count + other.count;
        if !self.is_running && !other.is_running {
            let (mut sum, mut compensation) = (self.value.clone(), self.compensation.clone());
            let combined = sum.kahan_add(&other.value, &mut compensation)?;
            if !sum.has_overflow() {
                (self.value, self.compensation, self.count) = (sum, compensation, count);
                self.make_good(other.compensation)?;
                return Ok(combined);
            }
        }
        for mean in [&mut *self, &mut other] {
            if !mean.is_running {
                mean.is_running = true;
                mean.scale(FloatHistogram::div);
            }
            mean.scale(|histogram, own| histogram.mul(own / count));
        }
        self.count = count;
        let combined = self.value.kahan_add(&other.value, &mut self.compensation)?;
        self.make_good(other.compensation)?;
        Ok(combined)
    }

    /// Adds what rounding took away elsewhere.
    fn make_good(&mut self, lost: Option<FloatHistogram>) -> Result<(), HistogramOpError> {
        match lost {
            Some(lost) => self.value.kahan_add(&lost, &mut self.compensation).map(|_| ()),
            None => Ok(()),
        }
    }

    pub(crate) fn finish(mut self) -> FloatHistogram {
        if !self.is_running {
            self.scale(FloatHistogram::div);
        }
        if let Some(compensation) = &self.compensation {
            // The compensation was made for this sum, so the two go together.
            let _ = self.value.add(compensation);
        }
        self.value
    }

    fn scale(&mut self, change: impl Fn(&mut FloatHistogram, f64)) {
        change(&mut self.value, self.count);
        if let Some(compensation) = &mut self.compensation {
            change(compensation, self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> f64 {
        let mut mean = Mean::default();
        values.iter().for_each(|v| mean.add(*v));
        mean.get()
    }

    #[test]
    fn a_mean_outlives_an_overflow_of_the_sum() {
        assert_eq!(mean(&[f64::MAX, f64::MAX]), f64::MAX);
        assert!((0.999..=1.0).contains(&(mean(&[f64::MAX; 7]) / f64::MAX)));
        assert_eq!(mean(&[1.0, 1e100, 1.0, -1e100]), 0.5);
        assert_eq!(mean(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(mean(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }
}
