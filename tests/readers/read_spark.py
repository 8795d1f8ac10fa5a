"""Spark with Delta, through the shipped views: see output.py."""

import re
from pathlib import Path

import output
from sessions import spark_with_delta


def main():
    options = output.arguments()
    spark = spark_with_delta()
    try:
        table = str(Path(options.table_dir).resolve()).replace("`", "``")
        spark.sql(f"CREATE TEMPORARY VIEW metrics AS SELECT * FROM delta.`{table}`")
        for statement in statements(Path(options.views_sql).read_text(encoding="utf-8")):
            spark.sql(statement)
        output.print_lines(list(lines(spark, options)))
    finally:
        spark.stop()


def statements(script):
    without_comments = re.sub(r"^\s*--.*$", "", script, flags=re.MULTILINE)
    return [statement for statement in without_comments.split(";") if statement.strip()]


def lines(spark, options):
    for histograms in output.kinds(options):
        yield from histogram_lines(spark) if histograms else sample_lines(spark)
        if options.stale:
            yield from stale_lines(spark, histograms)


def sample_lines(spark):
    for labels, ts, value in spark.sql("SELECT labels, ts, value FROM metrics_samples").collect():
        yield output.sample_line(labels, ts, output.double_bits(value))


def histogram_lines(spark):
    query = "SELECT labels, ts, h_part, h_bucket, value FROM metrics_histograms"
    for labels, ts, part, bucket, value in spark.sql(query).collect():
        yield output.histogram_line(labels, ts, part, bucket, output.double_bits(value))


def stale_lines(spark, histograms):
    part = "h_part = 'count'" if histograms else "h_part IS NULL"
    query = f"SELECT labels, explode(stale_at) FROM metrics WHERE row_kind = 'series' AND {part}"
    for labels, ts in spark.sql(query).collect():
        yield output.stale_line(labels, ts, histograms)


main()
