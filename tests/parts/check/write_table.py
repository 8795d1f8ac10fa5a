"""Writes three rows to a new Delta table: write_table.py DIR."""

import sys

import pyarrow
from deltalake import write_deltalake

write_deltalake(sys.argv[1], pyarrow.table({"n": [1, 2, 3]}))
