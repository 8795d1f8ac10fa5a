"""DuckDB 2 reads a Delta table by the file list of deltalake: duckdb2.py DIR."""

import sys

import duckdb
from deltalake import DeltaTable

files = DeltaTable(sys.argv[1]).file_uris()
rows = duckdb.connect().execute("SELECT count(*), sum(n) FROM read_parquet($1)", [files]).fetchone()
assert rows == (3, 6), rows
