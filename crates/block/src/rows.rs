use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, MapBuilder,
    MapFieldNames, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType};
use model::Labels;

use crate::decimal::Decimal;
use crate::schema::{KIND_LABELS, KIND_SERIES, KIND_TIMESTAMPS, PROMOTED, arrow_schema, element};

/// Text of a batch, above which it is written: labels can be long.
const BATCH_TEXT_BYTES: usize = 256 * 1024;

/// A row of kind `series`.
pub(crate) struct SeriesRow<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) count: i64,
    pub(crate) times: Times<'a>,
    pub(crate) values: Values<'a>,
    /// Which elements are not null; empty when all are.
    pub(crate) present: &'a [bool],
    pub(crate) stale_at: &'a [i64],
    /// Parallel to the timestamps, 0 for unknown; empty when all are.
    pub(crate) starts: &'a [i64],
    pub(crate) part: Option<Part<'a>>,
}

#[derive(Clone, Copy)]
pub(crate) enum Times<'a> {
    Shared(u32),
    Own(&'a [i64]),
}

#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    Int(Decimal, &'a [i64]),
    Double(&'a [f64]),
}

/// What a histogram part has beside the columns of all series rows.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) form: i32,
    pub(crate) kind: &'static str,
    pub(crate) float: bool,
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    /// Empty but in the part `count`.
    pub(crate) custom_values: &'a [f64],
    /// Parallel to the timestamps; empty when all are unknown.
    pub(crate) hints: &'a [i32],
    pub(crate) bucket: Option<i32>,
    pub(crate) bounds: Option<(f64, f64)>,
}

/// Rows that become a record batch together.
pub(crate) struct Rows {
    block: i64,
    n_rows: usize,
    n_elements: usize,
    n_text_bytes: usize,
    row_kind: StringBuilder,
    blocks: Int64Builder,
    min_time: Int64Builder,
    max_time: Int64Builder,
    count: Int64Builder,
    metric: StringBuilder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
    promoted: [StringBuilder; PROMOTED.len()],
    ts_ref: Int64Builder,
    timestamps: ListBuilder<Int64Builder>,
    base: Int64Builder,
    mul: Float64Builder,
    div: Float64Builder,
    ints: ListBuilder<Int64Builder>,
    doubles: ListBuilder<Float64Builder>,
    stale_at: ListBuilder<Int64Builder>,
    starts: ListBuilder<Int64Builder>,
    h_form: Int32Builder,
    h_part: StringBuilder,
    h_float: BooleanBuilder,
    h_schema: Int32Builder,
    h_zero_threshold: Float64Builder,
    h_custom_values: ListBuilder<Float64Builder>,
    h_hint: ListBuilder<Int32Builder>,
    h_bucket: Int32Builder,
    h_lower: Float64Builder,
    h_upper: Float64Builder,
    label_name: StringBuilder,
    label_value: StringBuilder,
}

impl Rows {
    pub(crate) fn new(block: i64) -> Rows {
        let names = MapFieldNames {
            entry: "key_value".to_string(),
            key: "key".to_string(),
            value: "value".to_string(),
        };
        Rows {
            block,
            n_rows: 0,
            n_elements: 0,
            n_text_bytes: 0,
            row_kind: StringBuilder::new(),
            blocks: Int64Builder::new(),
            min_time: Int64Builder::new(),
            max_time: Int64Builder::new(),
            count: Int64Builder::new(),
            metric: StringBuilder::new(),
            labels: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
            promoted: Default::default(),
            ts_ref: Int64Builder::new(),
            timestamps: int_list(),
            base: Int64Builder::new(),
            mul: Float64Builder::new(),
            div: Float64Builder::new(),
            ints: int_list(),
            doubles: double_list(),
            stale_at: int_list(),
            starts: int_list(),
            h_form: Int32Builder::new(),
            h_part: StringBuilder::new(),
            h_float: BooleanBuilder::new(),
            h_schema: Int32Builder::new(),
            h_zero_threshold: Float64Builder::new(),
            h_custom_values: double_list(),
            h_hint: ListBuilder::new(Int32Builder::new()).with_field(element(DataType::Int32)),
            h_bucket: Int32Builder::new(),
            h_lower: Float64Builder::new(),
            h_upper: Float64Builder::new(),
            label_name: StringBuilder::new(),
            label_value: StringBuilder::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.n_rows
    }

    /// Text that is held for the next batch.
    pub(crate) fn n_text_bytes(&self) -> usize {
        self.n_text_bytes
    }

    /// Whether enough is held for a batch.
    pub(crate) fn is_full(&self) -> bool {
        self.n_rows >= 1024 || self.n_elements >= 64 * 1024 || self.n_text_bytes >= BATCH_TEXT_BYTES
    }

    pub(crate) fn push_series(&mut self, row: &SeriesRow<'_>) -> Result<(), ArrowError> {
        self.push_common(KIND_SERIES, row.min_time, row.max_time, row.count);
        self.push_labels(row.labels)?;
        match row.times {
            Times::Shared(number) => {
                self.ts_ref.append_value(i64::from(number));
                self.timestamps.append_null();
            }
            Times::Own(times) => {
                self.ts_ref.append_null();
                append_ints(&mut self.timestamps, times);
                self.n_elements += times.len();
            }
        }
        self.push_values(row.values, row.present);
        append_ints_or_null(&mut self.stale_at, row.stale_at);
        append_sparse(&mut self.starts, row.starts);
        self.push_part(row.part.as_ref());
        self.push_pair(None);
        Ok(())
    }

    pub(crate) fn push_timeline(&mut self, number: u32, times: &[i64]) -> Result<(), ArrowError> {
        let (first, last) = (times.first().copied(), times.last().copied());
        self.push_common(
            KIND_TIMESTAMPS,
            first.unwrap_or_default(),
            last.unwrap_or_default(),
            times.len() as i64,
        );
        self.push_no_labels()?;
        self.ts_ref.append_value(i64::from(number));
        append_ints(&mut self.timestamps, times);
        self.n_elements += times.len();
        self.push_no_values();
        self.push_pair(None);
        Ok(())
    }

    pub(crate) fn push_label(
        &mut self,
        (name, value): (&str, &str),
        series: i64,
        (min_time, max_time): (i64, i64),
    ) -> Result<(), ArrowError> {
        self.push_common(KIND_LABELS, min_time, max_time, series);
        self.push_no_labels()?;
        self.ts_ref.append_null();
        self.timestamps.append_null();
        self.push_no_values();
        self.push_pair(Some((name, value)));
        Ok(())
    }

    /// The rows so far as a batch; begins anew.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.n_rows = 0;
        self.n_elements = 0;
        self.n_text_bytes = 0;
        let mut columns: Vec<ArrayRef> = vec![
            self.row_kind.finish_array(),
            self.blocks.finish_array(),
            self.min_time.finish_array(),
            self.max_time.finish_array(),
            self.count.finish_array(),
            self.metric.finish_array(),
            self.labels.finish_array(),
        ];
        columns.extend(self.promoted.iter_mut().map(Finish::finish_array));
        columns.extend([
            self.ts_ref.finish_array(),
            self.timestamps.finish_array(),
            self.base.finish_array(),
            self.mul.finish_array(),
            self.div.finish_array(),
            self.ints.finish_array(),
            self.doubles.finish_array(),
            self.stale_at.finish_array(),
            self.starts.finish_array(),
            self.h_form.finish_array(),
            self.h_part.finish_array(),
            self.h_float.finish_array(),
            self.h_schema.finish_array(),
            self.h_zero_threshold.finish_array(),
            self.h_custom_values.finish_array(),
            self.h_hint.finish_array(),
            self.h_bucket.finish_array(),
            self.h_lower.finish_array(),
            self.h_upper.finish_array(),
            self.label_name.finish_array(),
            self.label_value.finish_array(),
        ]);
        RecordBatch::try_new(arrow_schema(), columns)
    }

    fn push_common(&mut self, kind: &str, min_time: i64, max_time: i64, count: i64) {
        self.n_rows += 1;
        self.row_kind.append_value(kind);
        self.blocks.append_value(self.block);
        self.min_time.append_value(min_time);
        self.max_time.append_value(max_time);
        self.count.append_value(count);
    }

    fn push_labels(&mut self, labels: &Labels) -> Result<(), ArrowError> {
        let mut copies = [None; PROMOTED.len()];
        let mut metric = None;
        let (keys, values) = self.labels.entries();
        for (name, value) in labels.iter() {
            self.n_text_bytes += name.len() + value.len();
            keys.append_value(name);
            values.append_value(value);
            if name == model::METRIC_NAME {
                metric = Some(value);
            } else if let Some(i) = PROMOTED.iter().position(|(label, _)| *label == name) {
                copies[i] = Some(value);
            }
        }
        self.labels.append(true)?;
        self.metric.append_option(metric);
        for (column, copy) in self.promoted.iter_mut().zip(copies) {
            column.append_option(copy);
        }
        Ok(())
    }

    fn push_no_labels(&mut self) -> Result<(), ArrowError> {
        self.metric.append_null();
        self.promoted.iter_mut().for_each(StringBuilder::append_null);
        self.labels.append(false)
    }

    fn push_values(&mut self, values: Values<'_>, present: &[bool]) {
        match values {
            Values::Int(decimal, ints) => {
                self.base.append_value(decimal.base);
                self.mul.append_value(decimal.mul);
                self.div.append_value(decimal.div);
                if present.is_empty() {
                    self.ints.values().append_slice(ints);
                } else {
                    self.ints.values().append_values(ints, present);
                }
                self.ints.append(true);
                self.doubles.append_null();
                self.n_elements += ints.len();
            }
            Values::Double(doubles) => {
                self.base.append_null();
                self.mul.append_null();
                self.div.append_null();
                if present.is_empty() {
                    self.doubles.values().append_slice(doubles);
                } else {
                    self.doubles.values().append_values(doubles, present);
                }
                self.doubles.append(true);
                self.ints.append_null();
                self.n_elements += doubles.len();
            }
        }
    }

    fn push_no_values(&mut self) {
        self.base.append_null();
        self.mul.append_null();
        self.div.append_null();
        self.ints.append_null();
        self.doubles.append_null();
        self.stale_at.append_null();
        self.starts.append_null();
        self.push_part(None);
    }

    fn push_part(&mut self, part: Option<&Part<'_>>) {
        self.h_form.append_option(part.map(|part| part.form));
        self.h_part.append_option(part.map(|part| part.kind));
        self.h_float.append_option(part.map(|part| part.float));
        self.h_schema.append_option(part.map(|part| part.schema));
        self.h_zero_threshold.append_option(part.map(|part| part.zero_threshold));
        self.h_bucket.append_option(part.and_then(|part| part.bucket));
        self.h_lower.append_option(part.and_then(|part| part.bounds).map(|bounds| bounds.0));
        self.h_upper.append_option(part.and_then(|part| part.bounds).map(|bounds| bounds.1));
        match part.map(|part| part.custom_values).filter(|values| !values.is_empty()) {
            Some(values) => {
                self.h_custom_values.values().append_slice(values);
                self.h_custom_values.append(true);
            }
            None => self.h_custom_values.append_null(),
        }
        match part.map(|part| part.hints).filter(|hints| !hints.is_empty()) {
            Some(hints) => {
                self.h_hint.values().append_slice(hints);
                self.h_hint.append(true);
            }
            None => self.h_hint.append_null(),
        }
    }

    fn push_pair(&mut self, pair: Option<(&str, &str)>) {
        self.n_text_bytes += pair.map_or(0, |(name, value)| name.len() + value.len());
        self.label_name.append_option(pair.map(|pair| pair.0));
        self.label_value.append_option(pair.map(|pair| pair.1));
    }
}

trait Finish {
    fn finish_array(&mut self) -> ArrayRef;
}

impl<B: ArrayBuilder> Finish for B {
    fn finish_array(&mut self) -> ArrayRef {
        ArrayBuilder::finish(self)
    }
}

fn int_list() -> ListBuilder<Int64Builder> {
    ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64))
}

fn double_list() -> ListBuilder<Float64Builder> {
    ListBuilder::new(Float64Builder::new()).with_field(element(DataType::Float64))
}

fn append_ints(list: &mut ListBuilder<Int64Builder>, values: &[i64]) {
    list.values().append_slice(values);
    list.append(true);
}

fn append_ints_or_null(list: &mut ListBuilder<Int64Builder>, values: &[i64]) {
    if values.is_empty() {
        list.append_null();
    } else {
        append_ints(list, values);
    }
}

/// 0 becomes a null element.
fn append_sparse(list: &mut ListBuilder<Int64Builder>, values: &[i64]) {
    if values.is_empty() {
        list.append_null();
        return;
    }
    for value in values {
        list.values().append_option((*value != 0).then_some(*value));
    }
    list.append(true);
}
