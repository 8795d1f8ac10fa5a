//! What is written reads back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use columnar::{Columnar, Format, schema};
use model::{BucketSpan, Counts, FloatColumn, Histogram, HistogramPoint, Labels, STALE_NAN, SeriesData};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn series(number: i64) -> SeriesData {
    let labels = Labels::from_pairs([("__name__", "up".to_string()), ("number", number.to_string())]);
    let mut series = SeriesData::new(labels);
    let values = vec![number as f64, f64::from_bits(STALE_NAN), f64::from_bits(model::EMPTY), -0.0];
    series.floats.push(FloatColumn::new(vec![1, 2, 3, 4], values));
    let counts = Counts::Int { count: 3, zero: 1, positive: vec![2], negative: Vec::new() };
    let positive_spans = vec![BucketSpan { offset: -2, length: 1 }];
    let histogram = Arc::new(Histogram { counts, positive_spans, sum: 0.5, ..Histogram::stale() });
    let point = HistogramPoint { timestamp: 5, start_timestamp: 0, histogram };
    series.histograms.extend((0..number % 3).map(|_| point.clone()));
    series
}

/// Writes in parts of `part` series.
fn write(format: Format, n: i64, part: usize) -> Vec<u8> {
    let all: Vec<SeriesData> = (0..n).map(series).collect();
    let mut table = Columnar::open(format).unwrap();
    let mut bytes = Vec::new();
    for part in all.chunks(part) {
        bytes.extend(table.rows(part).unwrap());
    }
    bytes.extend(table.end().unwrap());
    bytes
}

fn read_parquet(bytes: Vec<u8>) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

fn read_arrow(bytes: &[u8]) -> Vec<RecordBatch> {
    let reader = arrow_ipc::reader::StreamReader::try_new(bytes, None).unwrap();
    reader.map(Result::unwrap).collect()
}

#[track_caller]
fn check(batches: &[RecordBatch], n: i64) {
    let mut number = 0;
    for batch in batches {
        for row in 0..batch.num_rows() {
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let metric = column("metric").as_map().value(row);
            let values = metric.column(1).as_string::<i32>();
            assert_eq!(values.iter().flatten().collect::<Vec<_>>(), ["up", &number.to_string()]);
            let times = column("timestamps").as_list::<i32>().value(row);
            assert_eq!(times.as_primitive::<TimestampMillisecondType>().values(), &[1, 2, 4]);
            let floats = column("values").as_list::<i32>().value(row);
            let bits: Vec<u64> =
                floats.as_primitive::<Float64Type>().values().iter().map(|v| v.to_bits()).collect();
            assert_eq!(bits, [(number as f64).to_bits(), STALE_NAN, (-0.0f64).to_bits()]);
            let histograms = column("histograms").as_list::<i32>().value(row);
            assert_eq!(histograms.len() as i64, number % 3);
            if !histograms.is_empty() {
                let counts = histograms.as_struct().column_by_name("count").unwrap();
                assert_eq!(counts.as_primitive::<Float64Type>().value(0), 3.0);
            }
            number += 1;
        }
    }
    assert_eq!(number, n);
}

#[test]
fn both_formats_give_back_every_bit_however_they_were_written() {
    for (n, part) in [(0, 1), (1, 1), (100, 7), (100, 100)] {
        let arrow = read_arrow(&write(Format::Arrow, n, part));
        check(&arrow, n);
        let parquet = read_parquet(write(Format::Parquet, n, part));
        check(&parquet, n);
        for batch in arrow.iter().chain(&parquet) {
            assert_eq!(batch.schema().fields(), schema().fields());
        }
    }
}

#[test]
fn what_is_written_leaves_at_once() {
    let all: Vec<SeriesData> = (0..1_000).map(series).collect();
    let mut table = Columnar::open(Format::Arrow).unwrap();
    assert!(table.rows(&all).unwrap().len() > 1_000 * 48);
    // A row group is held until it is large enough.
    let mut table = Columnar::open(Format::Parquet).unwrap();
    let long = |number: i64| {
        let times: Vec<i64> = (0..100_000).collect();
        let values = times.iter().map(|at| (at * number * 7919 % 65_537) as f64 / 7.0).collect();
        SeriesData { floats: vec![FloatColumn::new(times, values)], ..series(number) }
    };
    // Each part is about a megabyte.
    let first_given_out = (1..16).find(|number| !table.rows(&[long(*number)]).unwrap().is_empty());
    let first_given_out = first_given_out.map(|number| number > 1);
    assert_eq!(first_given_out, Some(true), "a row group is held until it is large, and not much longer");
}
