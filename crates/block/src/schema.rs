//! The columns of the table `metrics` and how they are encoded, and what the schemas of all tables share.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

/// The version of the format; stands in each file's footer and in each add.
pub const FORMAT: &str = "1";

/// Row kind of series.
pub const KIND_SERIES: &str = "series";
/// Row kind of timelines.
pub const KIND_TIMESTAMPS: &str = "timestamps";
/// Row kind of label names and values.
pub const KIND_LABELS: &str = "labels";

/// The labels that have a column of their own for SQL, and the column's name.
pub const PROMOTED: [(&str, &str); 4] =
    [("job", "l_job"), ("instance", "l_instance"), ("namespace", "l_namespace"), ("service", "l_service")];

/// The columns for which the log keeps minimum, maximum and null count.
pub const STATS_COLUMNS: [&str; 5] = ["row_kind", "block", "metric", "min_time", "max_time"];

/// The most rows between two page boundaries: a cold read of one series takes labels and scalars of this many rows.
pub(crate) const PAGE_ROWS: usize = 1024;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(columns())));

/// A UTC day, the partition of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// Milliseconds of a day.
    pub const MS: i64 = 86_400_000;

    /// The day of a timestamp.
    pub fn of(timestamp_ms: i64) -> Day {
        Day(timestamp_ms.div_euclid(Day::MS))
    }

    /// The first millisecond.
    pub fn start_ms(self) -> i64 {
        self.0.saturating_mul(Day::MS)
    }

    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Day> {
        let mut parts = text.rsplitn(3, '-');
        let day: i64 = parts.next()?.parse().ok()?;
        let month: i64 = parts.next()?.parse().ok()?;
        let year: i64 = parts.next()?.parse().ok()?;
        let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && year.abs() < 1 << 40;
        in_range.then(|| Day(days_from_civil(year, month, day)))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// The columns of a file in Arrow's words.
pub fn arrow_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The columns of the table in Delta's words, the partition column first: name and type in Delta's JSON.
pub fn delta_columns() -> Vec<(String, String)> {
    delta_columns_of(&SCHEMA)
}

/// The columns of a table of which this is the schema, and the partition column before them.
pub(crate) fn delta_columns_of(schema: &Schema) -> Vec<(String, String)> {
    let mut columns = vec![("day".to_string(), "\"date\"".to_string())];
    for field in schema.fields() {
        columns.push((field.name().clone(), delta_type(field.data_type())));
    }
    columns
}

/// How the columns are encoded.
pub(crate) fn writer_properties(
    block: i64,
    zstd_level: i32,
    value_page_bytes: usize,
) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_created_by("firn".to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(None)
        .set_key_value_metadata(Some(vec![
            KeyValue::new("firn.format".to_string(), FORMAT.to_string()),
            KeyValue::new("firn.block".to_string(), block.to_string()),
        ]));
    for leaf in ["metric", "min_time", "max_time", "label_name"] {
        builder = builder.set_column_statistics_enabled(path(leaf), EnabledStatistics::Page);
    }
    for leaf in DICTIONARY {
        builder = builder.set_column_dictionary_enabled(path(leaf), true);
    }
    for leaf in DELTA {
        builder = builder.set_column_encoding(path(leaf), Encoding::DELTA_BINARY_PACKED);
    }
    for leaf in ["values_int.list.element", "values_double.list.element"] {
        builder = value_column(builder, path(leaf), value_page_bytes);
    }
    Ok(builder.build())
}

const DICTIONARY: [&str; 21] = [
    "row_kind",
    "block",
    "count",
    "metric",
    "labels.key_value.key",
    "labels.key_value.value",
    "l_job",
    "l_instance",
    "l_namespace",
    "l_service",
    "ts_ref",
    "values_mul",
    "values_div",
    "h_form",
    "h_part",
    "h_schema",
    "h_zero_threshold",
    "h_bucket",
    "h_lower",
    "h_upper",
    "label_name",
];

const DELTA: [&str; 5] =
    ["min_time", "max_time", "timestamps.list.element", "stale_at.list.element", "start_ts.list.element"];

fn value_column(
    builder: WriterPropertiesBuilder,
    leaf: ColumnPath,
    page_bytes: usize,
) -> WriterPropertiesBuilder {
    builder
        .set_column_encoding(leaf.clone(), Encoding::PLAIN)
        .set_column_data_page_size_limit(leaf, page_bytes)
}

pub(crate) fn path(leaf: &str) -> ColumnPath {
    ColumnPath::from(leaf.split('.').map(str::to_string).collect::<Vec<_>>())
}

fn columns() -> Vec<Field> {
    let mut fields = vec![
        Field::new("row_kind", DataType::Utf8, true),
        Field::new("block", DataType::Int64, true),
        Field::new("min_time", DataType::Int64, true),
        Field::new("max_time", DataType::Int64, true),
        Field::new("count", DataType::Int64, true),
        Field::new("metric", DataType::Utf8, true),
        Field::new("labels", map_type(), true),
    ];
    fields.extend(PROMOTED.map(|(_, column)| Field::new(column, DataType::Utf8, true)));
    fields.extend([
        Field::new("ts_ref", DataType::Int64, true),
        Field::new("timestamps", list_type(DataType::Int64), true),
        Field::new("values_base", DataType::Int64, true),
        Field::new("values_mul", DataType::Float64, true),
        Field::new("values_div", DataType::Float64, true),
        Field::new("values_int", list_type(DataType::Int64), true),
        Field::new("values_double", list_type(DataType::Float64), true),
        Field::new("stale_at", list_type(DataType::Int64), true),
        Field::new("start_ts", list_type(DataType::Int64), true),
        Field::new("h_form", DataType::Int32, true),
        Field::new("h_part", DataType::Utf8, true),
        Field::new("h_float", DataType::Boolean, true),
        Field::new("h_schema", DataType::Int32, true),
        Field::new("h_zero_threshold", DataType::Float64, true),
        Field::new("h_custom_values", list_type(DataType::Float64), true),
        Field::new("h_hint", list_type(DataType::Int32), true),
        Field::new("h_bucket", DataType::Int32, true),
        Field::new("h_lower", DataType::Float64, true),
        Field::new("h_upper", DataType::Float64, true),
        Field::new("label_name", DataType::Utf8, true),
        Field::new("label_value", DataType::Utf8, true),
    ]);
    fields
}

pub(crate) fn element(of: DataType) -> Field {
    Field::new("element", of, true)
}

fn list_type(of: DataType) -> DataType {
    DataType::List(Arc::new(element(of)))
}

pub(crate) fn map_type() -> DataType {
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry), false)), false)
}

fn delta_type(of: &DataType) -> String {
    match of {
        DataType::Utf8 => "\"string\"".to_string(),
        DataType::Int32 => "\"integer\"".to_string(),
        DataType::Float64 => "\"double\"".to_string(),
        DataType::Boolean => "\"boolean\"".to_string(),
        DataType::Binary => "\"binary\"".to_string(),
        DataType::List(element) => format!(
            r#"{{"type":"array","elementType":{},"containsNull":true}}"#,
            delta_type(element.data_type())
        ),
        DataType::Map(..) => {
            r#"{"type":"map","keyType":"string","valueType":"string","valueContainsNull":true}"#.to_string()
        }
        // The schemas have no other type.
        _ => "\"long\"".to_string(),
    }
}

/// Days since the epoch of a civil date (Howard Hinnant's algorithm, proleptic Gregorian).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_as_the_calendar_says() {
        for (ms, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400_000, "2000-02-29"),
            (1_795_255_485_000, "2026-11-21"),
        ] {
            assert_eq!(Day::of(ms).to_string(), text);
            assert_eq!(Day::parse(text), Some(Day::of(ms)));
        }
        for day in -200_000..200_000 {
            assert_eq!(Day::parse(&Day(day).to_string()), Some(Day(day)));
        }
        assert_eq!(Day::parse("2026-13-01"), None);
        assert_eq!(Day::parse("yesterday"), None);
    }

    #[test]
    fn column_names_differ_in_more_than_case() {
        let mut names: Vec<String> = SCHEMA.fields().iter().map(|f| f.name().to_lowercase()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), SCHEMA.fields().len());
    }

    #[test]
    fn every_tuned_leaf_is_in_the_schema() {
        let known: Vec<&str> = SCHEMA.fields().iter().map(|f| f.name().as_str()).collect();
        for leaf in DICTIONARY.iter().chain(&DELTA) {
            let column = leaf.split('.').next().unwrap();
            assert!(known.contains(&column), "{leaf}");
        }
    }
}
