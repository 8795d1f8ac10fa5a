use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, ListArray, MapArray, PrimitiveArray, RecordBatch,
    StringArray, StructArray, UInt32Array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use model::{BucketSpan, Counts, FloatColumn, HistogramPoint, ResetHint, SeriesData};

/// The columns of the table.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("metric", DataType::Map(entries(), false), false),
        Field::new("timestamps", DataType::List(item(time_type())), false),
        Field::new("values", DataType::List(item(DataType::Float64)), false),
        Field::new("histograms", DataType::List(item(DataType::Struct(histogram_fields()))), false),
    ]))
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn item(of: DataType) -> FieldRef {
    Arc::new(Field::new("item", of, false))
}

fn entries() -> FieldRef {
    Arc::new(Field::new("entries", DataType::Struct(entry_fields()), false))
}

fn entry_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, false)])
}

fn span_fields() -> Fields {
    Fields::from(vec![
        Field::new("offset", DataType::Int32, false),
        Field::new("length", DataType::UInt32, false),
    ])
}

fn histogram_fields() -> Fields {
    let spans = || DataType::List(item(DataType::Struct(span_fields())));
    let counts = || DataType::List(item(DataType::Float64));
    let columns = [
        ("timestamp", time_type()),
        ("count", DataType::Float64),
        ("sum", DataType::Float64),
        ("schema", DataType::Int32),
        ("zero_threshold", DataType::Float64),
        ("zero_count", DataType::Float64),
        ("positive_spans", spans()),
        ("positive_counts", counts()),
        ("negative_spans", spans()),
        ("negative_counts", counts()),
        ("custom_values", counts()),
        ("is_float", DataType::Boolean),
        ("counter_reset_hint", DataType::Utf8),
    ];
    columns.into_iter().map(|(name, of)| Field::new(name, of, false)).collect()
}

/// A row for each series.
pub(crate) fn batch(series: &[SeriesData]) -> Result<RecordBatch, ArrowError> {
    let columns = vec![
        metrics(series)?,
        list(time_type(), lengths(series), times(series))?,
        list(DataType::Float64, lengths(series), Arc::new(values(series)))?,
        histogram_lists(series)?,
    ];
    RecordBatch::try_new(schema(), columns)
}

fn metrics(series: &[SeriesData]) -> Result<ArrayRef, ArrowError> {
    let (mut names, mut values) = (StringBuilder::new(), StringBuilder::new());
    let mut lengths = Vec::with_capacity(series.len());
    for one in series {
        let mut n = 0;
        for (name, value) in one.labels.iter() {
            names.append_value(name);
            values.append_value(value);
            n += 1;
        }
        lengths.push(n);
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(names.finish()), Arc::new(values.finish())];
    let pairs = StructArray::try_new(entry_fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::try_new(entries(), offsets, pairs, None, false)?))
}

/// How many floats each series has.
fn lengths(series: &[SeriesData]) -> Vec<usize> {
    series.iter().map(|one| floats(one).count()).collect()
}

fn floats(series: &SeriesData) -> impl Iterator<Item = (i64, f64)> + '_ {
    series.floats.iter().flat_map(FloatColumn::samples)
}

fn times(series: &[SeriesData]) -> ArrayRef {
    millis(series.iter().flat_map(floats).map(|(time, _)| time).collect())
}

fn millis(times: Vec<i64>) -> ArrayRef {
    Arc::new(PrimitiveArray::<TimestampMillisecondType>::from(times).with_timezone("UTC"))
}

fn values(series: &[SeriesData]) -> Float64Array {
    series.iter().flat_map(floats).map(|(_, value)| value).collect::<Vec<f64>>().into()
}

fn list(of: DataType, lengths: Vec<usize>, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(ListArray::try_new(item(of), OffsetBuffer::from_lengths(lengths), values, None)?))
}

fn histogram_lists(series: &[SeriesData]) -> Result<ArrayRef, ArrowError> {
    let points: Vec<&HistogramPoint> = series.iter().flat_map(|one| &one.histograms).collect();
    let lengths = series.iter().map(|one| one.histograms.len()).collect();
    let histograms = histograms(&points)?;
    list(DataType::Struct(histogram_fields()), lengths, Arc::new(histograms))
}

fn histograms(points: &[&HistogramPoint]) -> Result<StructArray, ArrowError> {
    let of = |value: fn(&HistogramPoint) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from(points.iter().map(|point| value(point)).collect::<Vec<f64>>()))
    };
    let schemas: Vec<i32> = points.iter().map(|point| point.histogram.schema).collect();
    let are_floats: Vec<bool> =
        points.iter().map(|point| matches!(point.histogram.counts, Counts::Float { .. })).collect();
    let hints: Vec<&str> = points.iter().map(|point| hint(point.histogram.reset_hint)).collect();
    let columns: Vec<ArrayRef> = vec![
        millis(points.iter().map(|point| point.timestamp).collect()),
        of(|point| total(&point.histogram.counts)),
        of(|point| point.histogram.sum),
        Arc::new(Int32Array::from(schemas)),
        of(|point| point.histogram.zero_threshold),
        of(|point| zero(&point.histogram.counts)),
        spans(points, |point| &point.histogram.positive_spans)?,
        counts(points, |point| positive(&point.histogram.counts))?,
        spans(points, |point| &point.histogram.negative_spans)?,
        counts(points, |point| negative(&point.histogram.counts))?,
        counts(points, |point| point.histogram.custom_values.clone())?,
        Arc::new(BooleanArray::from(are_floats)),
        Arc::new(StringArray::from(hints)),
    ];
    StructArray::try_new(histogram_fields(), columns, None)
}

fn spans(
    points: &[&HistogramPoint],
    of: fn(&HistogramPoint) -> &[BucketSpan],
) -> Result<ArrayRef, ArrowError> {
    let all = || points.iter().flat_map(|point| of(point));
    let offsets: Vec<i32> = all().map(|span| span.offset).collect();
    let span_lengths: Vec<u32> = all().map(|span| span.length).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(offsets)), Arc::new(UInt32Array::from(span_lengths))];
    let spans = StructArray::try_new(span_fields(), columns, None)?;
    let lengths = points.iter().map(|point| of(point).len()).collect();
    list(DataType::Struct(span_fields()), lengths, Arc::new(spans))
}

fn counts(points: &[&HistogramPoint], of: fn(&HistogramPoint) -> Vec<f64>) -> Result<ArrayRef, ArrowError> {
    let (mut lengths, mut values) = (Vec::with_capacity(points.len()), Vec::new());
    for point in points {
        let counts = of(point);
        lengths.push(counts.len());
        values.extend(counts);
    }
    list(DataType::Float64, lengths, Arc::new(Float64Array::from(values)))
}

fn total(counts: &Counts) -> f64 {
    match counts {
        Counts::Int { count, .. } => *count as f64,
        Counts::Float { count, .. } => *count,
    }
}

fn zero(counts: &Counts) -> f64 {
    match counts {
        Counts::Int { zero, .. } => *zero as f64,
        Counts::Float { zero, .. } => *zero,
    }
}

fn positive(counts: &Counts) -> Vec<f64> {
    match counts {
        Counts::Int { positive, .. } => positive.iter().map(|n| *n as f64).collect(),
        Counts::Float { positive, .. } => positive.clone(),
    }
}

fn negative(counts: &Counts) -> Vec<f64> {
    match counts {
        Counts::Int { negative, .. } => negative.iter().map(|n| *n as f64).collect(),
        Counts::Float { negative, .. } => negative.clone(),
    }
}

fn hint(hint: ResetHint) -> &'static str {
    match hint {
        ResetHint::Unknown => "unknown",
        ResetHint::Yes => "reset",
        ResetHint::No => "not_reset",
        ResetHint::Gauge => "gauge",
    }
}
