//! Exports: lines that VictoriaMetrics takes, and tables that others read.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use system_tests::{Firn, RawAnswer, TimeSeries, WriteRequest, now_ms, part, send};

use super::data::{INTERVAL_MS, push};
use super::start;

const SCRAPES: i64 = 400;

/// Prints a line per row: name, instance, timestamps, bits of values, and what histograms count.
const READ: &str = "
import struct, sys
path, kind = sys.argv[1:3]
if kind == 'arrow':
    import pyarrow.ipc
    rows = pyarrow.ipc.open_stream(path).read_all().to_pylist()
elif kind == 'parquet':
    import pyarrow.parquet
    rows = pyarrow.parquet.read_table(path).to_pylist()
ms = lambda at: round(at.timestamp() * 1000)
bits = lambda value: struct.pack('>d', value).hex()
for row in rows:
    metric = dict(row['metric'])
    floats = ' '.join(f'{ms(at)}={bits(value)}' for at, value in zip(row['timestamps'], row['values']))
    histograms = ' '.join(f\"{ms(h['timestamp'])}={h['count']!r}/{h['sum']!r}/{len(h['positive_counts'])}\" for h in row['histograms'])
    print(metric['__name__'], metric['instance'], floats, histograms, sep=';')
";

/// The same of DuckDB, as sums.
const READ_BY_DUCKDB: &str = "
import duckdb, sys
query = '''select metric['__name__'], sum(len(\"values\")), sum(len(histograms)),
           sum(list_sum(list_transform(histograms, lambda h: h['count'])))
           from read_parquet(?) group by 1 order by 1'''
for row in duckdb.execute(query, [sys.argv[1]]).fetchall():
    print(row[0], int(row[1]), int(row[2]), row[3] or 0.0, sep=';')
";

fn world(dir: &tempfile::TempDir) -> (Firn, i64) {
    let firn = start(dir, &[]);
    let from = now_ms() / INTERVAL_MS * INTERVAL_MS - SCRAPES * INTERVAL_MS;
    push(&firn, from, 0, SCRAPES / 2);
    firn.flush_all().unwrap();
    push(&firn, from, SCRAPES / 2, SCRAPES);
    (firn, from)
}

fn export(firn: &Firn, parameters: &str) -> RawAnswer {
    let url = format!("{}/api/v1/export?match[]=%7Bjob%3D%22read%22%7D&{parameters}", firn.url());
    send("GET", &url, &[], &[]).unwrap()
}

fn lines(answer: &RawAnswer) -> Vec<Value> {
    assert_eq!(answer.status, 200);
    String::from_utf8_lossy(&answer.body).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the script is to print, made of the lines of JSON. JSON has no NaN, so a float that is none is left out of both.
fn expected(lines: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    let mut last = String::new();
    for line in lines {
        let metric = &line["metric"];
        let name =
            format!("{};{}", metric["__name__"].as_str().unwrap(), metric["instance"].as_str().unwrap());
        if name != last {
            rows.push(format!("{name};;"));
            last = name;
        }
        let times = line["timestamps"].as_array().unwrap();
        let row = rows.last_mut().unwrap();
        if let Some(values) = line["values"].as_array() {
            let float = |value: &Value| match value.as_str() {
                Some("Infinity") => Some(f64::INFINITY),
                Some("-Infinity") => Some(f64::NEG_INFINITY),
                _ => value.as_f64(),
            };
            let texts = times.iter().zip(values).map(|(at, value)| {
                let bits =
                    float(value).map_or("nan".to_string(), |value| format!("{:016x}", value.to_bits()));
                format!("{at}={bits}")
            });
            let texts = texts.collect::<Vec<String>>().join(" ");
            row.insert_str(row.len() - 1, &texts);
        } else {
            let histograms = line["histograms"].as_array().unwrap();
            let texts = times.iter().zip(histograms).map(|(at, h)| {
                let n = h["positive_counts"].as_array().map_or(0, Vec::len);
                format!(
                    "{at}={:?}/{:?}/{n}",
                    h["count"].as_f64().unwrap(),
                    h["sum"].as_f64().unwrap_or(f64::NAN)
                )
            });
            row.push_str(&texts.collect::<Vec<String>>().join(" "));
        }
    }
    rows
}

/// Every NaN alike.
fn without_nans(rows: &str) -> Vec<String> {
    let is_nan = |bits: &str| u64::from_str_radix(bits, 16).is_ok_and(|bits| f64::from_bits(bits).is_nan());
    let cell = |cell: &str| match cell.split_once('=') {
        Some((at, bits)) if bits.len() == 16 && is_nan(bits) => format!("{at}=nan"),
        _ => cell.to_string(),
    };
    let row = |row: &str| {
        let fields =
            row.split(';').map(|field| field.split(' ').map(cell).collect::<Vec<String>>().join(" "));
        fields.collect::<Vec<String>>().join(";")
    };
    rows.lines().map(row).collect()
}

fn run(python: &Path, script: &str, arguments: &[&str]) -> String {
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn lines_have_every_sample_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (firn, from) = world(&dir);
    let answer = export(&firn, "");
    assert_eq!(answer.header("content-type").as_deref(), Some("application/stream+json; charset=utf-8"));
    let whole = lines(&answer);
    let to = from + (SCRAPES + 100) * INTERVAL_MS;
    let samples = firn.samples("{job=\"read\"}", from, to).unwrap();
    let n_samples: usize = samples.values().map(Vec::len).sum();
    let n_exported: usize = whole.iter().map(|line| line["timestamps"].as_array().unwrap().len()).sum();
    println!("exported {n_exported} samples in {} lines", whole.len());
    // A query shows no stale markers: three series end twice each in the time.
    assert!(n_exported > n_samples && n_exported < n_samples + 100, "{n_exported}, {n_samples}");
    let short = lines(&export(&firn, "max_rows_per_line=100"));
    assert!(short.iter().all(|line| line["timestamps"].as_array().unwrap().len() <= 100));
    assert_eq!(expected(&short).len(), expected(&whole).len());
    let one = export(&firn, &format!("start={}&end={}", from / 1000, from / 1000 + 60));
    assert!(lines(&one).iter().all(|line| line["timestamps"].as_array().unwrap().len() <= 5));
    assert_eq!(export(&firn, "format=csv").status, 400);
    assert_eq!(export(&firn, "start=5&end=1").status, 400);
}

#[test]
fn an_export_of_many_pages_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let firn = start(&dir, &[]);
    let (n_series, n_samples) = (600, 1_000);
    let from = now_ms() - n_samples * 1_000;
    for numbers in (0..n_series).collect::<Vec<i64>>().chunks(50) {
        let mut request = WriteRequest::default();
        for number in numbers {
            let number = number.to_string();
            let series = TimeSeries::new([("__name__", "many"), ("job", "read"), ("number", &number)]);
            request.push(&(0..n_samples).fold(series, |series, i| series.sample(from + i * 1_000, i as f64)));
        }
        assert_eq!(firn.push(&request).unwrap().status, 204);
    }
    let lines = lines(&export(&firn, ""));
    let names: Vec<&str> = lines.iter().map(|line| line["metric"]["number"].as_str().unwrap()).collect();
    assert!(names.is_sorted(), "in the order of labels");
    assert_eq!(lines.len() as i64, n_series);
    assert!(lines.iter().all(|line| line["timestamps"].as_array().unwrap().len() as i64 == n_samples));
    assert!(lines.iter().all(|line| line["values"][7] == 7.0));
}

#[test]
fn tables_say_what_the_lines_say() {
    let Some(python) = part("duckdb2/bin/python") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (firn, _) = world(&dir);
    let expected = expected(&lines(&export(&firn, "")));
    for format in ["arrow", "parquet"] {
        let answer = export(&firn, &format!("format={format}"));
        assert_eq!(answer.status, 200);
        let path = dir.path().join(format);
        fs::write(&path, &answer.body).unwrap();
        let path = path.display().to_string();
        let rows = without_nans(&run(&python, READ, &[&path, format]));
        assert_eq!(rows.len(), expected.len());
        for (row, expected) in rows.iter().zip(&expected) {
            assert!(
                row == expected,
                "{format}:\n{}\n{}",
                &row[..row.len().min(300)],
                &expected[..expected.len().min(300)]
            );
        }
        println!("{format}: {} bytes, {} rows", answer.body.len(), rows.len());
    }
    let path = dir.path().join("parquet").display().to_string();
    let sums = run(&python, READ_BY_DUCKDB, &[&path]);
    let names: Vec<&str> = sums.lines().filter_map(|line| line.split(';').next()).collect();
    assert_eq!(names.len(), 12, "{sums}");
    let counter = sums.lines().find(|line| line.starts_with("read_counter;"));
    assert_eq!(counter, Some("read_counter;800;0;0.0"));
    let integers = sums.lines().find(|line| line.starts_with("read_integers;"));
    assert!(integers.is_some_and(|line| line.starts_with("read_integers;0;800;")), "{sums}");
}
