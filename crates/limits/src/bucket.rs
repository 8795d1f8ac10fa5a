/// Limits a rate: tokens flow in at `rate` a second up to `burst`, and work takes them out.
///
/// Work may begin while there is any token left and may take more than there are. So one request that is larger
/// than the burst passes and is paid for afterwards, where waiting for a bucket that can never hold enough would
/// stall its sender for ever.
#[derive(Debug, Clone, Default)]
pub struct TokenBucket {
    /// Tokens at `filled_ms`; `None` until the first use, when the bucket is full.
    level: Option<f64>,
    filled_ms: i64,
}

impl TokenBucket {
    /// Whether work may begin; if not, in how many milliseconds it may. A rate of 0 is no limit.
    pub fn admit(&mut self, now_ms: i64, rate: f64, burst: f64) -> Result<(), u64> {
        if rate <= 0.0 {
            return Ok(());
        }
        let level = self.fill(now_ms, rate, burst);
        if level > 0.0 { Ok(()) } else { Err(((1.0 - level) / rate * 1000.0).ceil() as u64) }
    }

    /// Pays for `n` units of work that began.
    pub fn spend(&mut self, now_ms: i64, rate: f64, burst: f64, n: f64) {
        if rate > 0.0 {
            let level = self.fill(now_ms, rate, burst);
            self.level = Some(level - n);
        }
    }

    fn fill(&mut self, now_ms: i64, rate: f64, burst: f64) -> f64 {
        // A burst below one token would never admit anything.
        let burst = burst.max(1.0);
        let level = match self.level {
            // A clock that went back adds nothing and takes nothing.
            Some(level) => level + (now_ms - self.filled_ms).max(0) as f64 / 1000.0 * rate,
            None => burst,
        };
        self.filled_ms = now_ms;
        *self.level.insert(level.min(burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_passes_than_the_rate() {
        let mut bucket = TokenBucket::default();
        let mut passed = 0;
        for now_ms in 0..100_000 {
            if bucket.admit(now_ms, 100.0, 50.0).is_ok() {
                bucket.spend(now_ms, 100.0, 50.0, 20.0);
                passed += 20;
            }
        }
        assert!((10_000..=10_070).contains(&passed), "{passed}");
    }

    #[test]
    fn a_request_larger_than_the_burst_passes_once_and_is_paid_for() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.admit(0, 10.0, 10.0), Ok(()));
        bucket.spend(0, 10.0, 10.0, 110.0);
        assert_eq!(bucket.admit(0, 10.0, 10.0), Err(10_100));
        assert!(bucket.admit(10_000, 10.0, 10.0).is_err());
        assert_eq!(bucket.admit(10_100, 10.0, 10.0), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_neither_fills_nor_blocks() {
        let mut bucket = TokenBucket::default();
        bucket.spend(10_000, 10.0, 10.0, 20.0);
        assert!(bucket.admit(5_000, 10.0, 10.0).is_err());
        assert!(bucket.admit(7_000, 10.0, 10.0).is_ok());
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let mut bucket = TokenBucket::default();
        bucket.spend(0, 0.0, 0.0, 1e12);
        assert_eq!(bucket.admit(0, 0.0, 0.0), Ok(()));
    }
}
