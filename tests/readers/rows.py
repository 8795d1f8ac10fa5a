"""The rows of a table as they are, one JSON object per line, in the order of the lines' bytes.

    rows.py deltalake|duckdb|spark TABLE_DIR

Doubles are printed as their 64 bits and bytes as hex digits, both in lower case; dates as YYYY-MM-DD; nulls are left
out. It needs the Python of the engine: duckdb2 for deltalake, duckdb1 for DuckDB's own delta_scan, spark.
"""

import datetime
import json
import sys

import output
from sessions import duckdb_with_delta, spark_with_delta


def by_deltalake(table_dir):
    from deltalake import DeltaTable
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    files = SubTreeFileSystem(table_dir, LocalFileSystem())
    table = DeltaTable(table_dir).to_pyarrow_table(filesystem=files)
    return table.to_pylist(maps_as_pydicts="strict")


def by_duckdb(table_dir):
    found = duckdb_with_delta().execute("SELECT * FROM delta_scan(?)", [table_dir])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row)) for row in found.fetchall()]


def by_spark(table_dir):
    rows = spark_with_delta().read.format("delta").load(table_dir).collect()
    return [row.asDict() for row in rows]


ENGINES = {"deltalake": by_deltalake, "duckdb": by_duckdb, "spark": by_spark}


def plain(value):
    if isinstance(value, float):
        return f"{output.double_bits(value):016x}"
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def line(row):
    shown = {name: plain(value) for name, value in row.items() if value is not None}
    return json.dumps(shown, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def main():
    engine, table_dir = sys.argv[1:]
    output.print_lines(line(row) for row in ENGINES[engine](table_dir))


main()
