//! A file of a table whose rows are all of one kind: what the tables beside `metrics` have in common.

use std::convert::Infallible;

use arrow_array::RecordBatch;
use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::schema::{FORMAT, PAGE_ROWS, path};
use crate::summary::{LONGEST_NAME, RowsSummary};
use crate::write::WriteError;

/// A whole file in memory and what the log will say about it.
#[derive(Debug, Clone)]
pub struct WrittenRows {
    /// The file.
    pub bytes: Vec<u8>,
    /// What the log says about it.
    pub summary: RowsSummary,
}

/// How a file is laid out.
pub(crate) struct RowsOptions<'a> {
    pub(crate) block: i64,
    pub(crate) zstd_level: i32,
    pub(crate) row_group_rows: usize,
    /// Columns with a dictionary.
    pub(crate) dictionary: &'a [&'a str],
    /// Columns with statistics per page.
    pub(crate) indexed: &'a [&'a str],
    /// Columns with an encoding of their own.
    pub(crate) encodings: &'a [(&'a str, Encoding)],
}

/// A file under construction.
pub(crate) struct RowFile {
    block: i64,
    writer: ArrowWriter<Vec<u8>>,
    n_rows: u64,
    n_named: u64,
    /// Bytes that the encoder held when the last batch was written.
    n_encoding: usize,
    names: Option<(String, String)>,
    times: Option<(i64, i64)>,
}

impl RowFile {
    pub(crate) fn new(schema: &SchemaRef, options: &RowsOptions<'_>) -> Result<RowFile, ParquetError> {
        let mut builder = WriterProperties::builder()
            .set_created_by("firn".to_string())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(options.zstd_level)?))
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
            .set_key_value_metadata(Some(vec![
                KeyValue::new("firn.format".to_string(), FORMAT.to_string()),
                KeyValue::new("firn.block".to_string(), options.block.to_string()),
            ]));
        for leaf in options.indexed {
            builder = builder.set_column_statistics_enabled(path(leaf), EnabledStatistics::Page);
        }
        for leaf in options.dictionary {
            builder = builder.set_column_dictionary_enabled(path(leaf), true);
        }
        for (leaf, encoding) in options.encodings {
            builder = builder.set_column_encoding(path(leaf), *encoding);
        }
        let arrow_options =
            ArrowWriterOptions::new().with_properties(builder.build()).with_skip_arrow_metadata(true);
        Ok(RowFile {
            block: options.block,
            writer: ArrowWriter::try_new_with_options(Vec::new(), SchemaRef::clone(schema), arrow_options)?,
            n_rows: 0,
            n_named: 0,
            n_encoding: 0,
            names: None,
            times: None,
        })
    }

    /// Notes the name and the time of a row, for the statistics. Names come in order.
    pub(crate) fn note(&mut self, name: Option<&str>, timestamp: i64) {
        self.n_rows += 1;
        let (min, max) = self.times.unwrap_or((timestamp, timestamp));
        self.times = Some((min.min(timestamp), max.max(timestamp)));
        let Some(name) = name else { return };
        self.n_named += 1;
        match &mut self.names {
            None => self.names = Some((name.to_string(), name.to_string())),
            Some((_, last)) if last != name => *last = name.to_string(),
            Some(_) => {}
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.writer.write(batch)?;
        self.n_encoding = self.writer.inner().len() + self.writer.in_progress_size();
        Ok(())
    }

    /// Rows so far.
    pub(crate) fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The memory that the file takes, about.
    pub(crate) fn held_bytes(&self) -> usize {
        self.n_encoding
    }

    /// The file; `None` when it has no row.
    pub(crate) fn finish(self, shards: &[u32]) -> Result<Option<WrittenRows>, WriteError<Infallible>> {
        let Some(times) = self.times else { return Ok(None) };
        let fits = |(first, last): &(String, String)| first.len().max(last.len()) <= LONGEST_NAME;
        let summary = RowsSummary {
            block: self.block,
            n_rows: self.n_rows,
            times,
            names: self.names.filter(fits),
            n_name_nulls: self.n_rows - self.n_named,
            shards: shards.to_vec(),
        };
        Ok(Some(WrittenRows { bytes: self.writer.into_inner()?, summary }))
    }
}

/// A builder of maps in the form that Delta's readers expect.
pub(crate) fn map_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names =
        MapFieldNames { entry: "key_value".to_string(), key: "key".to_string(), value: "value".to_string() };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}
