use std::io;
use std::sync::Arc;

use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use model::SeriesData;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::rows::{batch, schema};

/// Bytes held of a row group after which the next one begins: all that has to be held of a Parquet file.
const ROW_GROUP_BYTES: usize = 8 << 20;
/// How hard zstd tries; more costs much time for little.
const ZSTD_LEVEL: i32 = 1;

/// What kind of table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A stream of Arrow IPC.
    Arrow,
    /// A file of Parquet.
    Parquet,
}

/// A table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ColumnarError {
    /// By Arrow.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// By Parquet.
    #[error("parquet: {0}")]
    Parquet(#[from] ParquetError),
}

/// A table on its way out, a part at a time.
pub struct Columnar {
    writer: Writer,
    out: Written,
}

enum Writer {
    Arrow(Box<StreamWriter<Written>>),
    Parquet(Box<ArrowWriter<Written>>),
}

/// Bytes that were written and not given out yet.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Columnar {
    /// A table without rows.
    pub fn open(format: Format) -> Result<Columnar, ColumnarError> {
        let out = Written::default();
        let writer = match format {
            Format::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(out.clone(), &schema())?)),
            Format::Parquet => {
                let compression = Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?);
                let properties = WriterProperties::builder().set_compression(compression).build();
                let writer = ArrowWriter::try_new(out.clone(), schema(), Some(properties))?;
                Writer::Parquet(Box::new(writer))
            }
        };
        Ok(Columnar { writer, out })
    }

    /// Appends a row for each series; gives out what is written.
    pub fn rows(&mut self, series: &[SeriesData]) -> Result<Vec<u8>, ColumnarError> {
        let rows = batch(series)?;
        match &mut self.writer {
            Writer::Arrow(writer) => writer.write(&rows)?,
            Writer::Parquet(writer) => {
                writer.write(&rows)?;
                if writer.memory_size() >= ROW_GROUP_BYTES {
                    writer.flush()?;
                }
            }
        }
        Ok(self.out.take())
    }

    /// Ends the table; gives out the rest.
    pub fn end(self) -> Result<Vec<u8>, ColumnarError> {
        match self.writer {
            Writer::Arrow(mut writer) => writer.finish()?,
            Writer::Parquet(writer) => drop(writer.close()?),
        }
        Ok(self.out.take())
    }
}

impl Written {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
