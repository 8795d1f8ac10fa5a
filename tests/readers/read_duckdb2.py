"""DuckDB 2, through the shipped views, over the files that deltalake lists: see output.py.

Never over a glob: the folder also holds files that the log does not list.
"""

from urllib.parse import unquote

import duckdb
from deltalake import DeltaTable

import duckdb_views
import output

options = output.arguments()
uris = DeltaTable(options.table_dir).file_uris()
if uris:
    # Local files come as paths, but percent-encoded: a space in the folder is %20.
    listed = ", ".join("'" + unquote(uri).replace("'", "''") + "'" for uri in uris)
    metrics = f"read_parquet([{listed}], hive_partitioning = true, union_by_name = true)"
    output.print_lines(duckdb_views.lines(duckdb.connect(), metrics, options))
