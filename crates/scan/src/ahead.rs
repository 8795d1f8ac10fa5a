use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::metadata::ParquetMetaData;

use crate::error::ScanError;
use crate::fetch::Fetch;

/// Parts of a file that were read before the decoder asks for them, because others nearby were read as well.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    parts: Vec<(Range<u64>, Bytes)>,
}

impl Ahead {
    pub(crate) async fn read(fetch: &Fetch, path: &Path, wanted: &[Range<u64>]) -> Result<Ahead, ScanError> {
        if wanted.is_empty() {
            return Ok(Ahead::default());
        }
        let merged = fetch.merged(wanted);
        let bytes = fetch.ranges(path, &merged).await?;
        Ok(Ahead { parts: merged.into_iter().zip(bytes).collect() })
    }

    /// The bytes of each range, if all are there.
    pub(crate) fn slices(&self, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        ranges.iter().map(|range| self.slice(range)).collect()
    }

    fn slice(&self, range: &Range<u64>) -> Option<Bytes> {
        let holds = |part: &Range<u64>| part.start <= range.start && range.end <= part.end;
        let (part, bytes) = self.parts.iter().find(|(part, _)| holds(part))?;
        let (from, to) = (range.start - part.start, range.end - part.start);
        (to <= bytes.len() as u64 && from <= to).then(|| bytes.slice(from as usize..to as usize))
    }
}

/// Where these columns of these rows of a row group lie.
pub(crate) fn places(
    meta: &ParquetMetaData,
    group: usize,
    leaves: &[usize],
    rows: &[Range<usize>],
) -> Vec<Range<u64>> {
    let n_rows = usize::try_from(meta.row_group(group).num_rows()).unwrap_or(0);
    let selection = RowSelection::from_consecutive_ranges(rows.iter().cloned(), n_rows);
    let mut places = Vec::new();
    for leaf in leaves {
        let (start, length) = meta.row_group(group).column(*leaf).byte_range();
        let pages =
            meta.offset_index().and_then(|index| Some(index.get(group)?.get(*leaf)?.page_locations()));
        let first = pages.and_then(|pages| u64::try_from(pages.first()?.offset).ok());
        match pages.zip(first) {
            Some((pages, first)) => {
                // What lies before the first page is the dictionary.
                places.extend((start < first).then_some(start..first));
                places.extend(selection.scan_ranges(pages));
            }
            None => places.push(start..start.saturating_add(length)),
        }
    }
    places
}
