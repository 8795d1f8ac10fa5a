"""DuckDB 1.5, through the shipped views, over its own delta_scan: see output.py."""

import duckdb_views
import output
from sessions import duckdb_with_delta

options = output.arguments()
table = options.table_dir.replace("'", "''")
output.print_lines(duckdb_views.lines(duckdb_with_delta(), f"delta_scan('{table}')", options))
