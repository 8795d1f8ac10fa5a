//! A file of the table `metadata`, as `docs/format/metadata-table.md` draws it.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use model::{Metadata, MetricType, SeenMetadata};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::WriteOptions;
use crate::read::{ReadError, column, missing};
use crate::rowfile::{RowFile, RowsOptions, WrittenRows};
use crate::schema;
use crate::write::WriteError;

/// The columns for which the log keeps minimum, maximum and null count.
pub const STATS_COLUMNS: [&str; 2] = ["family", "seen_at"];

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("family", DataType::Utf8, true),
        Field::new("type", DataType::Utf8, true),
        Field::new("unit", DataType::Utf8, true),
        Field::new("help", DataType::Utf8, true),
        Field::new("seen_at", DataType::Int64, true),
    ]))
});

/// The columns of the table in Delta's words, the partition column first.
pub fn delta_columns() -> Vec<(String, String)> {
    schema::delta_columns_of(&SCHEMA)
}

/// Writes one file of these descriptions. `None` when there is none.
pub fn write_metadata(
    block: i64,
    mut rows: Vec<SeenMetadata>,
    options: &WriteOptions,
) -> Result<Option<WrittenRows>, WriteError<Infallible>> {
    let file_options = RowsOptions {
        block,
        zstd_level: options.zstd_level,
        row_group_rows: options.row_group_rows,
        dictionary: &["type", "unit"],
        indexed: &[],
        encodings: &[],
    };
    rows.sort_by(|a, b| key(&a.metadata).cmp(&key(&b.metadata)));
    let mut file = RowFile::new(&SCHEMA, &file_options)?;
    for chunk in rows.chunks(options.row_group_rows.max(1)) {
        chunk.iter().for_each(|row| file.note(Some(&row.metadata.family), row.seen_ms));
        let text = |of: fn(&Metadata) -> &str| -> StringArray {
            chunk.iter().map(|row| Some(of(&row.metadata))).collect()
        };
        let seen: Int64Array = chunk.iter().map(|row| Some(row.seen_ms)).collect();
        let batch = RecordBatch::try_new(
            Arc::clone(&SCHEMA),
            vec![
                Arc::new(text(|one| &one.family)),
                Arc::new(text(|one| one.metric_type.as_str())),
                Arc::new(text(|one| &one.unit)),
                Arc::new(text(|one| &one.help)),
                Arc::new(seen),
            ],
        )?;
        file.write(&batch)?;
    }
    file.finish(&[])
}

fn key(one: &Metadata) -> (&str, &str, &str, &str) {
    (&one.family, one.metric_type.as_str(), &one.unit, &one.help)
}

/// The descriptions in a whole file. The decoder trusts what it finds in a file and may panic where that is wrong: the
/// file's fault, and an error like any other.
pub fn read_metadata(bytes: Bytes) -> Result<Vec<SeenMetadata>, ReadError> {
    let panicked = |said| Err(ReadError(format!("the file makes the decoder panic: {said}")));
    runtime::unpanicked(|| read_rows(bytes)).unwrap_or_else(panicked)
}

fn read_rows(bytes: Bytes) -> Result<Vec<SeenMetadata>, ReadError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).map_err(broken)?;
    let mut rows = Vec::new();
    for batch in builder.build().map_err(broken)? {
        let batch = batch.map_err(broken)?;
        let text = |name: &str| {
            let array = column(&batch, name).and_then(|array| array.as_string_opt::<i32>());
            array.ok_or_else(|| missing(name))
        };
        let (family, metric_type) = (text("family")?, text("type")?);
        let (unit, help) = (text("unit")?, text("help")?);
        let seen = column(&batch, "seen_at").and_then(|array| array.as_primitive_opt::<Int64Type>());
        let seen = seen.ok_or_else(|| missing("seen_at"))?;
        rows.extend((0..batch.num_rows()).map(|row| SeenMetadata {
            metadata: Metadata {
                family: family.value(row).to_string(),
                metric_type: MetricType::parse(metric_type.value(row)),
                unit: unit.value(row).to_string(),
                help: help.value(row).to_string(),
            },
            seen_ms: seen.value(row),
        }));
    }
    Ok(rows)
}

fn broken(error: impl std::fmt::Display) -> ReadError {
    ReadError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_come_back_sorted_and_as_they_were() {
        let row = |family: &str, metric_type, help: &str, seen_ms| SeenMetadata {
            metadata: Metadata {
                family: family.to_string(),
                metric_type,
                unit: String::new(),
                help: help.to_string(),
            },
            seen_ms,
        };
        let mut rows: Vec<SeenMetadata> =
            MetricType::ALL.iter().rev().map(|t| row("up", *t, "é\n\"x\"", 7)).collect();
        rows.push(row("a", MetricType::Gauge, "", i64::MIN));
        let written = write_metadata(5, rows.clone(), &WriteOptions::default()).unwrap().unwrap();
        assert_eq!((written.summary.n_rows, written.summary.times), (9, (i64::MIN, 7)));
        assert_eq!(written.summary.names, Some(("a".to_string(), "up".to_string())));
        rows.sort_by(|a, b| key(&a.metadata).cmp(&key(&b.metadata)));
        assert_eq!(read_metadata(written.bytes.clone().into()).unwrap(), rows);
        assert!(write_metadata(5, Vec::new(), &WriteOptions::default()).unwrap().is_none());
        for at in (0..written.bytes.len()).step_by(3) {
            let mut damaged = written.bytes.clone();
            damaged[at] ^= 0x55;
            // Whatever it is, it is an answer.
            let _result = read_metadata(damaged.into());
        }
        assert!(read_metadata(Bytes::from_static(b"PAR1")).is_err());
    }
}
