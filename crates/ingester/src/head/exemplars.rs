//! The exemplars of one series in one window, by time.

use model::{ExemplarPoint, TimeRange};

use super::MALLOC;

/// Exemplars, each once.
#[derive(Debug, Default)]
pub(super) struct ExemplarLog {
    /// By timestamp; those of one timestamp in the order of arrival.
    points: Vec<ExemplarPoint>,
    /// Bytes of their labels.
    label_bytes: usize,
}

impl ExemplarLog {
    /// Keeps an exemplar. Says no when it is there already.
    pub(super) fn push(&mut self, point: ExemplarPoint) -> bool {
        if self.has(&point) {
            return false;
        }
        if self.points.len() == self.points.capacity() {
            self.points.reserve_exact((self.points.len() / 2).max(2));
        }
        // Labels are an allocation with two counters.
        self.label_bytes += 16 + MALLOC + point.labels.run().len();
        let at = self.points.partition_point(|known| known.timestamp <= point.timestamp);
        self.points.insert(at, point);
        true
    }

    /// Whether the exemplar is there: same time, same bits, same labels.
    pub(super) fn has(&self, point: &ExemplarPoint) -> bool {
        let from = self.points.partition_point(|known| known.timestamp < point.timestamp);
        let of_its_time = self.points[from..].iter().take_while(|known| known.timestamp == point.timestamp);
        of_its_time.into_iter().any(|known| is_same(known, point))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Those in the range, by time.
    pub(super) fn points(&self, range: TimeRange) -> &[ExemplarPoint] {
        let from = self.points.partition_point(|point| point.timestamp < range.start);
        let to = self.points.partition_point(|point| point.timestamp <= range.end);
        &self.points[from..to.max(from)]
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let points = size_of::<ExemplarPoint>() * self.points.capacity() + MALLOC;
        size_of::<ExemplarLog>() + points + self.label_bytes
    }
}

/// Whether two exemplars of one series are one.
pub(super) fn is_same(a: &ExemplarPoint, b: &ExemplarPoint) -> bool {
    a.timestamp == b.timestamp && a.value.to_bits() == b.value.to_bits() && a.labels == b.labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn point(timestamp: i64, value: f64, trace: &str) -> ExemplarPoint {
        ExemplarPoint { timestamp, value, labels: Labels::from_pairs([("trace_id", trace)]) }
    }

    #[test]
    fn an_exemplar_is_kept_once_and_in_its_place() {
        let mut log = ExemplarLog::default();
        let points = [point(5, 1.0, "a"), point(3, 2.0, "b"), point(5, 1.0, "c"), point(5, -0.0, "a")];
        let kept = points.clone().map(|point| log.push(point));
        assert_eq!(kept, [true; 4]);
        assert!(points.iter().all(|point| log.has(point)));
        assert!(!log.has(&point(5, 0.0, "a")), "the bits differ");
        let before = log.bytes();
        let again = points.map(|point| log.push(point));
        assert_eq!((again, log.len(), log.bytes()), ([false; 4], 4, before));
        let times = |range| log.points(range).iter().map(|point| point.timestamp).collect::<Vec<_>>();
        assert_eq!(times(TimeRange::ALL), [3, 5, 5, 5]);
        assert_eq!(times(TimeRange::new(4, 9)), [5, 5, 5]);
        assert_eq!(times(TimeRange::new(9, 4)), Vec::<i64>::new());
    }
}
