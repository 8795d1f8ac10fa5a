"""A small metrics table by the letter of docs/format/metrics-table.md, written without Firn.

    fixture.py TABLE_DIR EXPECTED_FLOATS EXPECTED_HISTOGRAMS

Two files of two days and an orphan that the log does not list; every row form, awkward values and labels.
The expected lines, stale markers included, are written down from the samples, never from the rows.
"""

import datetime
import math
import shutil
import struct
import sys
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

import output

HOUR = 3_600_000
DAYS = [datetime.date(2026, 11, 20), datetime.date(2026, 11, 21)]
STARTS = [1_795_132_800_000, 1_795_219_200_000]
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
NEGATIVE_NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
STALE = object()

SCHEMA = pa.schema(
    [("day", pa.date32()), ("row_kind", pa.string())]
    + [(name, pa.int64()) for name in ("block", "min_time", "max_time", "count")]
    + [("metric", pa.string()), ("labels", pa.map_(pa.string(), pa.string()))]
    + [(name, pa.string()) for name in ("l_job", "l_instance", "l_namespace", "l_service")]
    + [("ts_ref", pa.int64()), ("timestamps", pa.list_(pa.int64())), ("values_base", pa.int64())]
    + [("values_mul", pa.float64()), ("values_div", pa.float64())]
    + [("values_int", pa.list_(pa.int64())), ("values_double", pa.list_(pa.float64()))]
    + [("stale_at", pa.list_(pa.int64())), ("start_ts", pa.list_(pa.int64()))]
    + [("h_form", pa.int32()), ("h_part", pa.string()), ("h_float", pa.bool_()), ("h_schema", pa.int32())]
    + [("h_zero_threshold", pa.float64()), ("h_custom_values", pa.list_(pa.float64()))]
    + [("h_hint", pa.list_(pa.int32())), ("h_bucket", pa.int32()), ("h_lower", pa.float64()), ("h_upper", pa.float64())]
    + [("label_name", pa.string()), ("label_value", pa.string())]
)

floats, histograms = [], []


def main():
    table, expected_floats, expected_histograms = sys.argv[1:]
    for number, start in enumerate(STARTS):
        write_deltalake(table, file_rows(number, start), mode="append", partition_by=["day"])
    orphan(table)
    for path, lines in ((expected_floats, floats), (expected_histograms, histograms)):
        Path(path).write_text("".join(line + "\n" for line in sorted(lines)), encoding="utf-8")


def file_rows(number, start):
    """Both files use the same ts_ref for different timelines: only with the block are they unique."""
    day, block = DAYS[number], 100 + number
    scrapes = [start + 15_000 * i + number for i in range(8)]
    target = {"job": "node", "instance": "a:9100"}
    rows = [
        series({"__name__": "up", **target}, scrapes, [1, 1, 1, 0, STALE, None, 1, 1], integers=(0, 1.0, 1.0), ts_ref=0),
        series({"__name__": "seconds_total", **target}, scrapes, [0.1 * 3, 0.3, 0.7, 1.1, 1.3, 1.39, 2.5, 1e300],
               ts_ref=0),
        series({"__name__": "celsius", **target}, scrapes, [20.5, 20.25, None, 21.75, 22, 22.5, 22.25, STALE],
               integers=(2025, 1.0, 100.0), ts_ref=0),
        series({"__name__": "memory_bytes", **target}, scrapes, [4096.0 * k for k in range(7, 15)],
               integers=(7, 4096.0, 1.0), ts_ref=0),
        series({"__name__": "awkward", **target}, scrapes,
               [-0.0, math.inf, -math.inf, NAN, STALE, 5e-324, 2.0**53 + 2, NEGATIVE_NAN], ts_ref=0),
        series({"__name__": "pushed", "quoted": 'a"b\\c\n\td\x01', "länge": "é😀"}, [start + 1, start + HOUR + 7],
               [42.0, -42.0], integers=(-42, 1.0, 1.0)),
        series({"no_name": "yes"}, [start + 5], [STALE]),
        *histogram({"__name__": "latency", **target}, scrapes),
        {"row_kind": "timestamps", "min_time": scrapes[0], "max_time": scrapes[-1], "count": 8, "ts_ref": 0,
         "timestamps": scrapes},
        {"row_kind": "labels", "min_time": scrapes[0], "max_time": start + HOUR + 7, "count": 6,
         "label_name": "job", "label_value": "node"},
    ]
    return pa.Table.from_pylist([{"day": day, "block": block, **row} for row in rows], schema=SCHEMA)


def series(labels, timestamps, samples, integers=None, ts_ref=None):
    for ts, sample in zip(timestamps, samples):
        if sample is not None:
            bits = output.STALE_BITS if sample is STALE else output.double_bits(sample)
            floats.append(output.sample_line(labels, ts, bits))
    return row(labels, timestamps, samples, integers, ts_ref)


def histogram(labels, timestamps):
    """An integer form of three samples and a stale marker; a bucket that appears late."""
    timestamps = timestamps[:4]
    form = {"h_form": 0, "h_float": False, "h_schema": 3, "h_zero_threshold": 1e-128}
    parts = [
        ("count", None, [3, 5, 9, STALE], (3, 1.0, 1.0)),
        ("sum", None, [0.1, 0.30000000000000004, 7.5, None], None),
        ("zero", None, [1, 1, 1, None], (1, 1.0, 1.0)),
        ("negative", 2, [1, 2, 3, None], (1, 1.0, 1.0)),
        ("positive", -4, [1, 2, 3, None], (1, 1.0, 1.0)),
        ("positive", 0, [None, None, 2, None], (2, 1.0, 1.0)),
    ]
    for part, bucket, samples, integers in parts:
        for ts, sample in zip(timestamps, samples):
            if sample is STALE:
                histograms.append(output.stale_line(labels, ts, histograms=True))
            elif sample is not None:
                histograms.append(output.histogram_line(labels, ts, part, bucket, output.double_bits(sample)))
        yield {**row(labels, timestamps, samples, integers, None), **form, "h_part": part, "h_bucket": bucket}


def row(labels, timestamps, samples, integers, ts_ref):
    values = [None if sample in (None, STALE) else float(sample) for sample in samples]
    stale_at = [ts for ts, sample in zip(timestamps, samples) if sample is STALE]
    made = {
        "row_kind": "series", "metric": labels.get("__name__"), "labels": sorted(labels.items()),
        "l_job": labels.get("job"), "l_instance": labels.get("instance"),
        "min_time": timestamps[0], "max_time": timestamps[-1], "count": sum(s is not None for s in samples),
        "ts_ref": ts_ref, "timestamps": timestamps if ts_ref is None else None, "stale_at": stale_at or None,
    }
    if integers is None:
        return {**made, "values_double": values}
    base, mul, div = integers
    made["values_int"] = [None if value is None else round(value * div / mul) - base for value in values]
    return {**made, "values_base": base, "values_mul": mul, "values_div": div}


def orphan(table):
    """A file beside a listed one, as a failed commit leaves it: whoever globs reads its samples twice."""
    listed = next(Path(table).glob("day=*/*.parquet"))
    shutil.copy(listed, listed.with_name("orphan.parquet"))


main()
