"""Spark writes a Delta table and reads it back: spark.py DIR."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "readers"))
from sessions import spark_with_delta

spark = spark_with_delta()
spark.range(1, 4).toDF("n").write.format("delta").save(sys.argv[1])
rows = spark.read.format("delta").load(sys.argv[1]).selectExpr("count(*)", "sum(n)").collect()
spark.stop()
assert tuple(rows[0]) == (3, 6), rows
