"""Opens the engines that need more than an import: DuckDB 1.5 with its Delta extension, Spark with Delta."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path


def duckdb_with_delta():
    import duckdb
    import duckdb_extension_delta

    extensions = Path(duckdb_extension_delta.__file__).parent / "extensions"
    extension = extensions / f"v{duckdb.__version__}" / "delta.duckdb_extension"
    # Named as a file, the extension counts as unsigned, whoever signed it.
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{extension}'")
    return connection


def spark_with_delta():
    """A local session on one core; the jars lie in the virtual environment this runs in."""
    from pyspark.sql import SparkSession

    warehouse = tempfile.mkdtemp(prefix="firn-spark-")  # else Spark makes one where it stands
    atexit.register(shutil.rmtree, warehouse, ignore_errors=True)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    jars = sorted(str(jar) for jar in (Path(sys.prefix) / "jars").glob("*.jar"))
    settings = {
        "spark.jars": ",".join(jars),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": warehouse,
    }
    builder = SparkSession.builder.master("local[1]").appName("firn-reader")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
