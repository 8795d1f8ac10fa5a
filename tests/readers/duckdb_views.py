"""Reads samples through the shipped DuckDB views, whatever `metrics` is made of."""

import output


def lines(connection, metrics, options):
    """`metrics` is the SQL of the relation that the views stand on: a scan of a Delta table or of its files."""
    connection.execute(f"CREATE VIEW metrics AS SELECT * FROM {metrics}")
    with open(options.views_sql, encoding="utf-8") as views:
        connection.execute(views.read())
    for histograms in output.kinds(options):
        yield from histogram_lines(connection) if histograms else sample_lines(connection)
        if options.stale:
            yield from stale_lines(connection, histograms)


def sample_lines(connection):
    for labels, ts, value in fetch(connection, "SELECT labels, ts, value FROM metrics_samples"):
        yield output.sample_line(labels, ts, output.double_bits(value))


def histogram_lines(connection):
    query = "SELECT labels, ts, h_part, h_bucket, value FROM metrics_histograms"
    for labels, ts, part, bucket, value in fetch(connection, query):
        yield output.histogram_line(labels, ts, part, bucket, output.double_bits(value))


def stale_lines(connection, histograms):
    part = "h_part = 'count'" if histograms else "h_part IS NULL"
    query = f"SELECT labels, unnest(stale_at) FROM metrics WHERE row_kind = 'series' AND {part}"
    for labels, ts in fetch(connection, query):
        yield output.stale_line(labels, ts, histograms)


def fetch(connection, query):
    answer = connection.execute(query)
    while rows := answer.fetchmany(10_000):
        yield from rows
