"""DuckDB 1.5 reads a Delta table with its own extension: duckdb1.py DIR."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "readers"))
from sessions import duckdb_with_delta

rows = duckdb_with_delta().execute("SELECT count(*), sum(n) FROM delta_scan($1)", [sys.argv[1]]).fetchone()
assert rows == (3, 6), rows
