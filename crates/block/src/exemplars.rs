//! A file of the table `exemplars`, as `docs/format/exemplars-table.md` draws it.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{BinaryBuilder, Float64Builder, Int64Builder, MapBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use model::{ExemplarPoint, ExemplarSeries, Labels, METRIC_NAME};
use parquet::basic::Encoding;

use crate::rowfile::{RowFile, RowsOptions, WrittenRows, map_builder};
use crate::schema::{self, Day, PROMOTED};
use crate::write::WriteError;
use crate::{WriteOptions, block_order};

/// The columns for which the log keeps minimum, maximum and null count.
pub const STATS_COLUMNS: [&str; 2] = ["metric", "ts"];

/// Labels of exemplars that name a trace, by the habits of senders; the first that is there counts.
const TRACE_IDS: [&str; 4] = ["trace_id", "traceID", "traceId", "TraceID"];
const SPAN_IDS: [&str; 4] = ["span_id", "spanID", "spanId", "SpanID"];

const DICTIONARY: [&str; 8] = [
    "metric",
    "series_id",
    "labels.key_value.key",
    "labels.key_value.value",
    "l_job",
    "l_instance",
    "l_namespace",
    "l_service",
];

/// Rows of a batch on their way into the file, and its text: labels can be long.
const BATCH_ROWS: usize = 1024;
const BATCH_TEXT_BYTES: usize = 256 * 1024;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(columns())));

/// The columns of the table in Delta's words, the partition column first.
pub fn delta_columns() -> Vec<(String, String)> {
    schema::delta_columns_of(&SCHEMA)
}

/// Writes one file. Series come in [`block_order`], each once, with their exemplars of one day. `None` when there is
/// no exemplar.
pub fn write_exemplars(
    block: i64,
    shards: &[u32],
    series: impl IntoIterator<Item = ExemplarSeries>,
    options: &WriteOptions,
) -> Result<Option<WrittenRows>, WriteError<Infallible>> {
    write_exemplars_within(block, shards, &mut series.into_iter(), options, usize::MAX)
}

/// Writes one file as [`write_exemplars`] does, of as many series as it may hold within `max_bytes` of memory, about: it
/// ends with the series that reaches them, and those that are left stay in the source.
pub fn write_exemplars_within(
    block: i64,
    shards: &[u32],
    series: &mut impl Iterator<Item = ExemplarSeries>,
    options: &WriteOptions,
    max_bytes: usize,
) -> Result<Option<WrittenRows>, WriteError<Infallible>> {
    let file_options = RowsOptions {
        block,
        zstd_level: options.zstd_level,
        row_group_rows: options.row_group_rows,
        dictionary: &DICTIONARY,
        indexed: &STATS_COLUMNS,
        encodings: &[("ts", Encoding::DELTA_BINARY_PACKED)],
    };
    let mut file = RowFile::new(&SCHEMA, &file_options)?;
    let mut rows = Rows::default();
    let mut previous: Option<Labels> = None;
    while file.n_rows() == 0 || file.held_bytes() + rows.n_text_bytes < max_bytes {
        let Some(mut one) = series.next() else { break };
        if let Some(before) = previous.take().filter(|before| block_order(before, &one.labels).is_ge()) {
            return Err(WriteError::OutOfOrder { before, after: one.labels });
        }
        one.exemplars.sort_by(order);
        for point in &one.exemplars {
            file.note(one.labels.metric_name(), point.timestamp);
            rows.push(&one.labels, point)?;
            if rows.n >= BATCH_ROWS || rows.n_text_bytes >= BATCH_TEXT_BYTES {
                file.write(&rows.take()?)?;
            }
        }
        previous = Some(one.labels);
    }
    if rows.n > 0 {
        file.write(&rows.take()?)?;
    }
    let written = file.finish(shards)?;
    if let Some((min, max)) = written.as_ref().map(|written| written.summary.times) {
        let (first, second) = (Day::of(min), Day::of(max));
        if first != second {
            return Err(WriteError::CrossesDay { first, second });
        }
    }
    Ok(written)
}

/// The order of the exemplars of a series: by time, then value, then labels.
fn order(a: &ExemplarPoint, b: &ExemplarPoint) -> std::cmp::Ordering {
    let by_time = a.timestamp.cmp(&b.timestamp);
    by_time.then(a.value.total_cmp(&b.value)).then_with(|| a.labels.cmp(&b.labels))
}

fn columns() -> Vec<Field> {
    let mut fields = vec![
        Field::new("metric", DataType::Utf8, true),
        Field::new("series_id", DataType::Binary, true),
        Field::new("labels", schema::map_type(), true),
    ];
    fields.extend(PROMOTED.map(|(_, column)| Field::new(column, DataType::Utf8, true)));
    fields.extend([
        Field::new("ts", DataType::Int64, true),
        Field::new("value", DataType::Float64, true),
        Field::new("trace_id", DataType::Utf8, true),
        Field::new("span_id", DataType::Utf8, true),
        Field::new("exemplar_labels", schema::map_type(), true),
    ]);
    fields
}

/// Rows that become a record batch together.
struct Rows {
    n: usize,
    n_text_bytes: usize,
    metric: StringBuilder,
    series_id: BinaryBuilder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
    promoted: [StringBuilder; PROMOTED.len()],
    ts: Int64Builder,
    value: Float64Builder,
    trace_id: StringBuilder,
    span_id: StringBuilder,
    exemplar_labels: MapBuilder<StringBuilder, StringBuilder>,
}

impl Default for Rows {
    fn default() -> Rows {
        Rows {
            n: 0,
            n_text_bytes: 0,
            metric: StringBuilder::new(),
            series_id: BinaryBuilder::new(),
            labels: map_builder(),
            promoted: Default::default(),
            ts: Int64Builder::new(),
            value: Float64Builder::new(),
            trace_id: StringBuilder::new(),
            span_id: StringBuilder::new(),
            exemplar_labels: map_builder(),
        }
    }
}

impl Rows {
    fn push(&mut self, labels: &Labels, point: &ExemplarPoint) -> Result<(), ArrowError> {
        self.n += 1;
        self.n_text_bytes += labels.run().len() + point.labels.run().len();
        self.metric.append_option(labels.get(METRIC_NAME));
        self.series_id.append_value(labels.id().0.to_be_bytes());
        append_map(&mut self.labels, labels)?;
        for (column, (label, _)) in self.promoted.iter_mut().zip(PROMOTED) {
            column.append_option(labels.get(label));
        }
        self.ts.append_value(point.timestamp);
        self.value.append_value(point.value);
        self.trace_id.append_option(TRACE_IDS.iter().find_map(|name| point.labels.get(name)));
        self.span_id.append_option(SPAN_IDS.iter().find_map(|name| point.labels.get(name)));
        append_map(&mut self.exemplar_labels, &point.labels)
    }

    /// The rows so far as a batch; begins anew.
    fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.n = 0;
        self.n_text_bytes = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.metric.finish()),
            Arc::new(self.series_id.finish()),
            Arc::new(self.labels.finish()),
        ];
        columns.extend(self.promoted.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.extend([
            Arc::new(self.ts.finish()) as ArrayRef,
            Arc::new(self.value.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.exemplar_labels.finish()),
        ]);
        RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
    }
}

fn append_map(map: &mut MapBuilder<StringBuilder, StringBuilder>, labels: &Labels) -> Result<(), ArrowError> {
    let (keys, values) = map.entries();
    for (name, value) in labels.iter() {
        keys.append_value(name);
        values.append_value(value);
    }
    map.append(true)
}
