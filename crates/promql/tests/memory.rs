//! An engine over series in memory.

use std::sync::Arc;

use model::{FloatColumn, Histogram, HistogramPoint, Labels, ResetHint, SeriesData};
use promql::histogram::FloatHistogram;
use promql::{EvalOptions, Plan, SelectSpec};
use testkit::script::{Engine, LoadedSeries, LoadedValue, Outcome};

use crate::projection;

/// Everything loaded, one entry per series, merged.
#[derive(Default)]
pub(crate) struct Memory {
    series: Vec<SeriesData>,
}

impl Memory {
    fn select(&self, spec: &SelectSpec) -> Vec<SeriesData> {
        let wanted = |labels: &Labels| {
            spec.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
        };
        self.series.iter().filter(|series| wanted(&series.labels)).map(|series| cut(series, spec)).collect()
    }

    fn query(&self, expr: &str, options: &EvalOptions) -> Result<Outcome, String> {
        let plan = Plan::new(expr, options).map_err(|e| e.to_string())?;
        let data: Vec<Vec<SeriesData>> = plan.selects().iter().map(|spec| self.select(spec)).collect();
        let projected = projection::evaluate(&plan, &data);
        let evaluated = plan.evaluate(data).map_err(|e| e.to_string());
        if let Some(projected) = projected {
            projection::check(expr, evaluated.as_ref(), projected.map_err(|e| e.to_string()).as_ref());
        }
        let evaluated = evaluated?;
        let said = evaluated.annotations;
        Ok(Outcome { value: evaluated.value, warnings: said.warnings, infos: said.infos })
    }
}

/// The samples in the select's range and nothing else: a plan that asks for too little shows.
fn cut(series: &SeriesData, spec: &SelectSpec) -> SeriesData {
    let mut part = SeriesData::new(series.labels.clone());
    for column in &series.floats {
        let inside = column.samples().filter(|(ts, _)| spec.range.contains(*ts));
        let (timeline, values): (Vec<i64>, Vec<f64>) = inside.unzip();
        part.floats.push(FloatColumn::new(timeline, values));
    }
    part.starts = series.starts.iter().copied().filter(|(ts, _)| spec.range.contains(*ts)).collect();
    part.histograms =
        series.histograms.iter().filter(|p| spec.range.contains(p.timestamp)).cloned().collect();
    let before = series.histograms.iter().rfind(|p| p.timestamp < spec.range.start);
    if let (Some(before), Some(first)) = (before, part.histograms.first_mut()) {
        tell_of(before, first);
    }
    part.merged()
}

/// A source knows the predecessor of the first histogram that it hands out, and says if that was no reset.
fn tell_of(before: &HistogramPoint, first: &mut HistogramPoint) {
    let earlier = FloatHistogram::from_model(&before.histogram);
    let later = FloatHistogram::from_model(&first.histogram);
    let is_counter = [&earlier, &later].iter().all(|h| !h.is_stale() && h.reset_hint != ResetHint::Gauge);
    if is_counter && !later.detect_reset(&earlier) {
        let told = Histogram { reset_hint: ResetHint::No, ..Histogram::clone(&first.histogram) };
        first.histogram = Arc::new(told);
    }
}

impl Engine for Memory {
    fn clear(&mut self) {
        self.series.clear();
    }

    fn load(&mut self, loaded: Vec<LoadedSeries>) {
        for one in loaded {
            let data = to_data(&one);
            match self.series.iter_mut().find(|known| known.labels == one.labels) {
                Some(known) => {
                    known.absorb(data);
                    *known = known.clone().merged();
                }
                None => self.series.push(data.merged()),
            }
        }
    }

    fn instant(&mut self, expr: &str, at_ms: i64) -> Result<Outcome, String> {
        self.query(expr, &EvalOptions::instant(at_ms))
    }

    fn range(&mut self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Outcome, String> {
        self.query(expr, &EvalOptions::range(start_ms, end_ms, step_ms))
    }
}

fn to_data(loaded: &LoadedSeries) -> SeriesData {
    let mut data = SeriesData::new(loaded.labels.clone());
    let (mut timeline, mut values) = (Vec::new(), Vec::new());
    for sample in &loaded.samples {
        match &sample.value {
            LoadedValue::Float(value) => {
                timeline.push(sample.timestamp);
                values.push(*value);
                if sample.start_timestamp != 0 {
                    data.starts.push((sample.timestamp, sample.start_timestamp));
                }
            }
            LoadedValue::Histogram(histogram) => data.histograms.push(HistogramPoint {
                timestamp: sample.timestamp,
                start_timestamp: sample.start_timestamp,
                histogram: Arc::new(histogram.clone()),
            }),
        }
    }
    data.floats.push(FloatColumn::new(timeline, values));
    data
}
