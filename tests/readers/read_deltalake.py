"""deltalake and pyarrow, without SQL, by the letter of docs/format/metrics-table.md: see output.py."""

from deltalake import DeltaTable
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

import output

COLUMNS = """day row_kind block labels ts_ref timestamps values_base values_mul values_div values_int values_double
             stale_at h_part h_bucket""".split()


def main():
    options = output.arguments(views=False)
    rows, timelines = read(options.table_dir)
    output.print_lines(line for row in rows for line in row_lines(row, timelines, options))


def read(table_dir):
    """The rows of series, and the timelines they may refer to."""
    # Arrow opens the files itself: with deltalake's own file system, called from Arrow's threads, two in
    # three processes abort when they exit ("terminate called without an active exception").
    files = SubTreeFileSystem(table_dir, LocalFileSystem())
    table = DeltaTable(table_dir).to_pyarrow_table(columns=COLUMNS, filesystem=files)
    rows = table.to_pylist(maps_as_pydicts="strict")
    timelines = {timeline_key(row): row["timestamps"] for row in rows if row["row_kind"] == "timestamps"}
    return [row for row in rows if row["row_kind"] == "series"], timelines


def row_lines(row, timelines, options):
    is_histogram = row["h_part"] is not None
    if is_histogram not in output.kinds(options):
        return
    for ts, value in samples(row, timelines):
        bits = output.double_bits(value)
        if is_histogram:
            yield output.histogram_line(row["labels"], ts, row["h_part"], row["h_bucket"], bits)
        else:
            yield output.sample_line(row["labels"], ts, bits)
    if options.stale and row["h_part"] in (None, "count"):
        for ts in row["stale_at"] or []:
            yield output.stale_line(row["labels"], ts, is_histogram)


def samples(row, timelines):
    timestamps = timelines[timeline_key(row)] if row["timestamps"] is None else row["timestamps"]
    integers, doubles = row["values_int"], row["values_double"]
    assert (integers is None) != (doubles is None), f"exactly one list of values: {row}"
    values = doubles if integers is None else [decimal(row, v) for v in integers]
    assert len(timestamps) == len(values), f"{len(timestamps)} timestamps, {len(values)} values: {row}"
    return ((ts, value) for ts, value in zip(timestamps, values) if value is not None)


def decimal(row, v):
    return None if v is None else float(row["values_base"] + v) * row["values_mul"] / row["values_div"]


def timeline_key(row):
    return row["day"], row["block"], row["ts_ref"]


if __name__ == "__main__":
    main()
