//! Checkpoints of a log: V1, one Parquet file with a row per action that still counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::BucketError;
use crate::action::{Add, Format, Line, MetaData, Protocol, Remove, TxnAction};
use crate::snapshot::{Snapshot, is_recent_tombstone, is_recent_txn};

/// Actions that are held at once beside the snapshot.
const ROWS_AT_ONCE: usize = 2048;

/// A checkpoint file and what `_last_checkpoint` says about it.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pointer: Value,
}

/// The checkpoint of a snapshot.
pub(crate) fn encode(snapshot: &Snapshot, now_ms: i64) -> Result<Encoded, ParquetError> {
    let schema = batch(&[])?.schema();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by("firn".to_string())
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
    let mut n_lines = 0;
    let mut rest = lines(snapshot, now_ms).peekable();
    while rest.peek().is_some() {
        let some: Vec<Line> = rest.by_ref().take(ROWS_AT_ONCE).collect();
        n_lines += some.len();
        writer.write(&batch(&some)?)?;
    }
    let bytes = writer.into_inner()?;
    // With the schema at hand Spark need not open the file to learn it.
    let pointer = json!({
        "version": snapshot.version(),
        "size": n_lines,
        "sizeInBytes": bytes.len(),
        "numOfAddFiles": snapshot.n_files(),
        "checkpointSchema": delta_struct(schema.fields()),
    });
    Ok(Encoded { bytes, pointer })
}

fn delta_struct(fields: &Fields) -> Value {
    let field = |field: &Arc<Field>| json!({"name": field.name(), "type": delta_type(field.data_type()), "nullable": true, "metadata": {}});
    json!({"type": "struct", "fields": fields.iter().map(field).collect::<Vec<_>>()})
}

fn delta_type(of: &DataType) -> Value {
    match of {
        DataType::Struct(fields) => delta_struct(fields),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Boolean => json!("boolean"),
        DataType::List(_) => json!({"type": "array", "elementType": "string", "containsNull": true}),
        DataType::Map(..) => {
            json!({"type": "map", "keyType": "string", "valueType": "string", "valueContainsNull": true})
        }
        // The columns below have no other type.
        _ => json!("string"),
    }
}

/// The table as a checkpoint has it, ours or another writer's. The Parquet decoder trusts what it finds in a file and
/// may panic where that is wrong: the file's fault, and an error like any other.
pub(crate) fn decode(path: &str, version: u64, bytes: &Bytes) -> Result<Snapshot, BucketError> {
    let panicked = |said| BucketError::corrupt(path, format!("the file makes the decoder panic: {said}"));
    runtime::unpanicked(|| read_snapshot(path, version, bytes)).unwrap_or_else(|said| Err(panicked(said)))
}

/// Twice over the file: what the table is may stand behind what is in it.
fn read_snapshot(path: &str, version: u64, bytes: &Bytes) -> Result<Snapshot, BucketError> {
    let mut first = Vec::new();
    read_lines(path, bytes, &["protocol", "metaData"], |lines| {
        first.extend(lines.into_iter().filter(|line| *line != Line::default()));
        Ok(())
    })?;
    let mut snapshot = Snapshot::first(path, version, first)?;
    read_lines(path, bytes, &["txn", "add", "remove"], |lines| snapshot.apply(path, version, lines))?;
    Ok(snapshot)
}

/// The actions in these columns, some at a time.
fn read_lines(
    path: &str,
    bytes: &Bytes,
    columns: &[&str],
    mut take: impl FnMut(Vec<Line>) -> Result<(), BucketError>,
) -> Result<(), BucketError> {
    let corrupt = |e: ParquetError| BucketError::corrupt(path, e);
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder =
        ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options).map_err(corrupt)?;
    let fields = builder.schema().fields();
    if fields.iter().any(|field| ["checkpointMetadata", "sidecar"].contains(&field.name().as_str())) {
        let feature = "a V2 checkpoint".to_string();
        return Err(BucketError::Unsupported { path: path.to_string(), feature });
    }
    let wanted = fields.iter().enumerate().filter(|(_, field)| columns.contains(&field.name().as_str()));
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.map(|(index, _)| index));
    let reader = builder.with_projection(mask).with_batch_size(ROWS_AT_ONCE).build().map_err(corrupt)?;
    for batch in reader {
        let batch = batch.map_err(|e| BucketError::corrupt(path, e))?;
        let incomplete = || BucketError::corrupt(path, "an action is incomplete");
        let lines = (0..batch.num_rows()).map(|row| read_line(&batch, row).ok_or_else(incomplete));
        take(lines.collect::<Result<_, _>>()?)?;
    }
    Ok(())
}

fn lines(snapshot: &Snapshot, now_ms: i64) -> impl Iterator<Item = Line> {
    let table = [
        Line { protocol: Some(snapshot.protocol.clone()), ..Line::default() },
        Line { meta_data: Some(snapshot.meta_data.clone()), ..Line::default() },
    ];
    let txns = snapshot.txns.iter().filter(move |(_, (_, updated_ms))| is_recent_txn(*updated_ms, now_ms));
    let txns = txns.map(|(app_id, (version, last_updated))| {
        Line::of_txn(TxnAction { app_id: app_id.clone(), version: *version, last_updated: *last_updated })
    });
    let adds = snapshot.files().map(|file| Line::of_add(file.add()));
    let removes = snapshot.tombstones.values().filter(move |remove| is_recent_tombstone(remove, now_ms));
    let removes = removes.map(|remove| Line::of_remove(Remove { data_change: false, ..remove.clone() }));
    table.into_iter().chain(txns).chain(adds).chain(removes)
}

fn batch(lines: &[Line]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("txn", txn_column(lines)?),
        ("add", add_column(lines)?),
        ("remove", remove_column(lines)?),
        ("metaData", meta_data_column(lines)?),
        ("protocol", protocol_column(lines)?),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect())
}

/// A struct column that is null where `present` says so.
fn structure(present: Vec<bool>, children: Vec<(&str, ArrayRef)>) -> Result<ArrayRef, ArrowError> {
    let fields: Fields =
        children.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = children.into_iter().map(|(_, array)| array).collect();
    Ok(Arc::new(StructArray::try_new(fields, arrays, Some(present.into()))?))
}

fn strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn integers(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn booleans(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

fn maps<'a, I>(maps: impl Iterator<Item = Option<I>>) -> Result<ArrayRef, ArrowError>
where
    I: IntoIterator<Item = (&'a String, Option<&'a String>)>,
{
    let names =
        MapFieldNames { entry: "key_value".to_string(), key: "key".to_string(), value: "value".to_string() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for map in maps {
        let is_some = map.is_some();
        for (key, value) in map.into_iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_option(value);
        }
        builder.append(is_some)?;
    }
    Ok(Arc::new(builder.finish()))
}

type OptionalValues = BTreeMap<String, Option<String>>;

fn pairs(map: &OptionalValues) -> impl Iterator<Item = (&String, Option<&String>)> {
    map.iter().map(|(key, value)| (key, value.as_ref()))
}

fn txn_column(lines: &[Line]) -> Result<ArrayRef, ArrowError> {
    let txns = || lines.iter().map(|line| line.txn.as_ref());
    structure(
        txns().map(|txn| txn.is_some()).collect(),
        vec![
            ("appId", strings(txns().map(|txn| Some(txn?.app_id.as_str())))),
            ("version", longs(txns().map(|txn| Some(txn?.version)))),
            ("lastUpdated", longs(txns().map(|txn| txn?.last_updated))),
        ],
    )
}

fn add_column(lines: &[Line]) -> Result<ArrayRef, ArrowError> {
    let adds = || lines.iter().map(|line| line.add.as_ref());
    structure(
        adds().map(|add| add.is_some()).collect(),
        vec![
            ("path", strings(adds().map(|add| Some(add?.path.as_str())))),
            ("partitionValues", maps(adds().map(|add| Some(pairs(&add?.partition_values))))?),
            ("size", longs(adds().map(|add| Some(add?.size)))),
            ("modificationTime", longs(adds().map(|add| Some(add?.modification_time)))),
            ("dataChange", booleans(adds().map(|add| Some(add?.data_change)))),
            ("stats", strings(adds().map(|add| add?.stats.as_deref()))),
            ("tags", maps(adds().map(|add| Some(pairs(add?.tags.as_ref()?))))?),
        ],
    )
}

fn remove_column(lines: &[Line]) -> Result<ArrayRef, ArrowError> {
    let removes = || lines.iter().map(|line| line.remove.as_ref());
    structure(
        removes().map(|remove| remove.is_some()).collect(),
        vec![
            ("path", strings(removes().map(|remove| Some(remove?.path.as_str())))),
            ("deletionTimestamp", longs(removes().map(|remove| remove?.deletion_timestamp))),
            ("dataChange", booleans(removes().map(|remove| Some(remove?.data_change)))),
            ("extendedFileMetadata", booleans(removes().map(|remove| remove?.extended_file_metadata))),
            (
                "partitionValues",
                maps(removes().map(|remove| Some(pairs(remove?.partition_values.as_ref()?))))?,
            ),
            ("size", longs(removes().map(|remove| remove?.size))),
        ],
    )
}

fn meta_data_column(lines: &[Line]) -> Result<ArrayRef, ArrowError> {
    let all = || lines.iter().map(|line| line.meta_data.as_ref());
    let present: Vec<bool> = all().map(|meta| meta.is_some()).collect();
    let options = maps(all().map(|meta| Some(meta?.format.options.iter().map(|(k, v)| (k, Some(v))))))?;
    let format = structure(
        present.clone(),
        vec![
            ("provider", strings(all().map(|meta| Some(meta?.format.provider.as_str())))),
            ("options", options),
        ],
    )?;
    let element = Field::new("element", DataType::Utf8, true);
    let mut partitions = ListBuilder::new(StringBuilder::new()).with_field(element);
    for meta in all() {
        partitions.append_option(meta.map(|meta| meta.partition_columns.iter().map(Some)));
    }
    structure(
        present,
        vec![
            ("id", strings(all().map(|meta| Some(meta?.id.as_str())))),
            ("name", strings(all().map(|meta| meta?.name.as_deref()))),
            ("description", strings(all().map(|meta| meta?.description.as_deref()))),
            ("format", format),
            ("schemaString", strings(all().map(|meta| Some(meta?.schema_string.as_str())))),
            ("partitionColumns", Arc::new(partitions.finish())),
            ("configuration", maps(all().map(|meta| Some(pairs(&meta?.configuration))))?),
            ("createdTime", longs(all().map(|meta| meta?.created_time))),
        ],
    )
}

fn protocol_column(lines: &[Line]) -> Result<ArrayRef, ArrowError> {
    let protocols = || lines.iter().map(|line| line.protocol.as_ref());
    structure(
        protocols().map(|protocol| protocol.is_some()).collect(),
        vec![
            ("minReaderVersion", integers(protocols().map(|protocol| Some(protocol?.min_reader_version)))),
            ("minWriterVersion", integers(protocols().map(|protocol| Some(protocol?.min_writer_version)))),
        ],
    )
}

/// The action of a row; `None` when a required field is missing.
fn read_line(batch: &RecordBatch, row: usize) -> Option<Line> {
    let mut line = Line::default();
    if let Some(cell) = Cell::of(batch, "txn", row) {
        let (app_id, version) = (cell.string("appId")?, cell.long("version")?);
        line.txn = Some(TxnAction { app_id, version, last_updated: cell.long("lastUpdated") });
    }
    if let Some(cell) = Cell::of(batch, "add", row) {
        line.add = Some(Add {
            path: cell.string("path")?,
            partition_values: cell.map("partitionValues").unwrap_or_default(),
            size: cell.long("size")?,
            modification_time: cell.long("modificationTime")?,
            data_change: cell.boolean("dataChange").unwrap_or(false),
            stats: cell.string("stats"),
            tags: cell.map("tags"),
            deletion_vector: cell.marks("deletionVector"),
        });
    }
    if let Some(cell) = Cell::of(batch, "remove", row) {
        line.remove = Some(Remove {
            path: cell.string("path")?,
            deletion_timestamp: cell.long("deletionTimestamp"),
            data_change: cell.boolean("dataChange").unwrap_or(false),
            extended_file_metadata: cell.boolean("extendedFileMetadata"),
            partition_values: cell.map("partitionValues"),
            size: cell.long("size"),
            deletion_vector: cell.marks("deletionVector"),
        });
    }
    if let Some(cell) = Cell::of(batch, "metaData", row) {
        let format = cell.child("format")?;
        line.meta_data = Some(MetaData {
            id: cell.string("id")?,
            name: cell.string("name"),
            description: cell.string("description"),
            format: Format { provider: format.string("provider")?, options: BTreeMap::new() },
            schema_string: cell.string("schemaString")?,
            partition_columns: cell.strings("partitionColumns").unwrap_or_default(),
            configuration: cell.map("configuration").unwrap_or_default(),
            created_time: cell.long("createdTime"),
        });
    }
    if let Some(cell) = Cell::of(batch, "protocol", row) {
        line.protocol = Some(Protocol {
            min_reader_version: cell.integer("minReaderVersion")?,
            min_writer_version: cell.integer("minWriterVersion")?,
            reader_features: cell.strings("readerFeatures"),
            writer_features: cell.strings("writerFeatures"),
        });
    }
    Some(line)
}

/// A struct in a row, whose fields may be missing or of another type.
struct Cell<'a> {
    of: &'a StructArray,
    row: usize,
}

impl<'a> Cell<'a> {
    fn of(batch: &'a RecordBatch, name: &str, row: usize) -> Option<Cell<'a>> {
        let of = batch.column_by_name(name)?.as_struct_opt()?;
        of.is_valid(row).then_some(Cell { of, row })
    }

    fn array(&self, name: &str) -> Option<&'a ArrayRef> {
        self.of.column_by_name(name).filter(|array| array.is_valid(self.row))
    }

    fn child(&self, name: &str) -> Option<Cell<'a>> {
        Some(Cell { of: self.array(name)?.as_struct_opt()?, row: self.row })
    }

    fn string(&self, name: &str) -> Option<String> {
        Some(self.array(name)?.as_string_opt::<i32>()?.value(self.row).to_string())
    }

    fn long(&self, name: &str) -> Option<i64> {
        Some(self.array(name)?.as_primitive_opt::<Int64Type>()?.value(self.row))
    }

    fn integer(&self, name: &str) -> Option<i32> {
        Some(self.array(name)?.as_primitive_opt::<Int32Type>()?.value(self.row))
    }

    fn boolean(&self, name: &str) -> Option<bool> {
        Some(self.array(name)?.as_boolean_opt()?.value(self.row))
    }

    /// Something that we only look at to refuse it.
    fn marks(&self, name: &str) -> Option<Value> {
        self.array(name).map(|_| Value::Bool(true))
    }

    fn strings(&self, name: &str) -> Option<Vec<String>> {
        let list = self.array(name)?.as_list_opt::<i32>()?.value(self.row);
        Some(list.as_string_opt::<i32>()?.iter().flatten().map(str::to_string).collect())
    }

    fn map(&self, name: &str) -> Option<OptionalValues> {
        let entries = self.array(name)?.as_map_opt()?.value(self.row);
        let keys = entries.column(0).as_string_opt::<i32>()?;
        let values = entries.column(1).as_string_opt::<i32>()?;
        let pairs = keys.iter().zip(values.iter());
        Some(pairs.filter_map(|(key, value)| Some((key?.to_string(), value.map(str::to_string)))).collect())
    }
}
