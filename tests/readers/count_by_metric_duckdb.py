"""How many samples a table holds of each metric, repetitions counted: lines of name and number. By DuckDB 1.5, over
its own delta_scan.

    count_by_metric_duckdb.py TABLE_DIR
"""

import sys

from sessions import duckdb_with_delta

COUNT = """
    WITH rows AS (SELECT * FROM delta_scan('{table}'))
    SELECT metric, sum(len(list_filter(coalesce(values_int::DOUBLE[], values_double), v -> v IS NOT NULL))
                       + coalesce(len(stale_at), 0))
    FROM rows WHERE row_kind = 'series' GROUP BY metric ORDER BY metric
"""


def main():
    table = sys.argv[1].replace("'", "''")
    for name, count in duckdb_with_delta().execute(COUNT.format(table=table)).fetchall():
        print(f"{name}\t{int(count)}")


main()
