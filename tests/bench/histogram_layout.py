#!/usr/bin/env python3
"""What native histograms cost at rest and in SQL: a row per part, as the table has it, beside a row per series.

Makes two hours of native histograms, writes them in every layout, reads them back with DuckDB on one thread, compares
the answers, and adds up from the offset index which pages a reader has to fetch. Needs numpy, pyarrow and duckdb.
Sizes repeat to the byte for one seed and one pyarrow; times are of the host, so only their ratios within one run count.

    tests/bench/histogram_layout.py --series 400 --samples 480
"""

import argparse
import os
import statistics
import tempfile
import time

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

METRIC = 'http_server_request_duration_seconds'
START = 1_795_255_200_000
INTERVAL = 15_000
SCHEMA = 3
GROWTH = 2.0 ** (1.0 / 2 ** SCHEMA)
ROW_GROUP = 8_192
TARGETS = 40
ABSENT = np.iinfo(np.int64).min


# --- Histograms -------------------------------------------------------------------------------------------------------

class Series:
    """One histogram series: counts as samples x buckets, -1 where the bucket is absent, and gaps for missed scrapes."""

    def __init__(self, labels, target, first_bucket, buckets, sums, missing):
        self.labels = labels
        self.target = target
        present = (buckets >= 0).any(axis=0)
        self.indexes = np.flatnonzero(present) + first_bucket
        self.buckets = buckets[:, present]
        self.buckets[missing] = -1
        self.counts = np.where(missing, -1, np.maximum(self.buckets, 0).sum(axis=1))
        self.sums = sums
        self.missing = missing


def log_normal(bounds, median, sigma):
    """The share of a log-normal latency that falls in each bucket, by its density in the middle of the bucket."""
    density = np.exp(-0.5 * ((np.log(bounds)[None, :] - np.log(median)[:, None]) / sigma) ** 2)
    return density / density.sum(axis=1, keepdims=True)


def make_series(rng, number, options):
    samples = options.samples
    target = number % TARGETS
    rate = np.exp(rng.uniform(np.log(options.slowest), np.log(options.fastest)))
    sigma = rng.uniform(0.2, 0.5)
    indexes = np.arange(-140, 60)
    bounds = GROWTH ** (indexes - 0.5)
    hours = np.arange(samples) * INTERVAL / 3_600_000
    wander = np.cumsum(rng.normal(0, 0.01, samples))
    median = 10 ** rng.uniform(-2.5, -0.5) * np.exp(0.15 * np.sin(hours * 2 + rng.uniform(0, 6)) + wander)
    load = rate * INTERVAL / 1000 * np.exp(0.3 * np.sin(hours * 3 + rng.uniform(0, 6))) * rng.gamma(50, 1 / 50, samples)
    share = 0.998 * log_normal(bounds, median, sigma) + 0.002 * log_normal(bounds, median * 2, sigma)
    grown = rng.poisson(load[:, None] * share)
    before = np.zeros(len(indexes), dtype=np.int64)
    if rng.random() > 0.15:
        # Most processes have run for hours or days when the window begins.
        before = rng.poisson(load.mean() * share.mean(axis=0) * 10 ** rng.uniform(1, 3.5))
    counts = before + np.cumsum(grown, axis=0)
    arrived = grown.sum(axis=1)
    mean = median * np.exp(sigma ** 2 / 2)
    took = arrived * mean * (1 + rng.normal(0, sigma, samples) / np.sqrt(np.maximum(arrived, 1)))
    sums = before.sum() * mean[0] + np.cumsum(took)
    if rng.random() < 0.05:
        at = rng.integers(1, samples)
        counts[at:] = np.cumsum(grown[at:], axis=0)
        sums[at:] = np.cumsum(took[at:])
    counts = np.where(counts == 0, -1, counts)
    labels = {
        '__name__': METRIC,
        'http_request_method': ['GET', 'POST', 'PUT'][number % 3],
        'http_response_status_code': ['200', '200', '201', '404', '500'][number % 5],
        'http_route': f'/api/v1/resource{number // TARGETS}/{{id}}',
        'instance': f'10.4.{target // 8}.{target * 5 % 250}:8080',
        'job': f'service-{target // 4}',
        'namespace': f'team-{target // 8}',
        'pod': f'service-{target // 4}-{(target * 2654435761) % 2**32:08x}-{target:05d}',
        'service': f'service-{target // 4}',
    }
    return Series(labels, target, indexes[0], counts, sums, rng.random(samples) < 0.001)


def make_fleet(rng, options):
    samples = options.samples
    fleet = [make_series(rng, number, options) for number in range(options.series)]
    fleet.sort(key=lambda one: sorted(one.labels.items()))
    grid = START + np.arange(samples) * INTERVAL
    timelines = [grid + rng.integers(0, INTERVAL) + rng.integers(0, 4, samples) for _ in range(TARGETS)]
    return fleet, timelines


# --- Columns ----------------------------------------------------------------------------------------------------------

def int_list(items):
    """LIST<INT64> of arrays in which ABSENT is null; None is a null list."""
    return list_of(items, np.int64, lambda flat: flat == ABSENT)


def double_list(items):
    return list_of(items, np.float64, np.isnan)


def plain_list(items):
    """LIST<INT64> without null elements."""
    return list_of(items, np.int64, lambda flat: np.zeros(len(flat), bool))


def list_of(items, dtype, is_null):
    sizes = [0 if item is None else len(item) for item in items]
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    kept = [item for item in items if item is not None]
    flat = np.concatenate(kept).astype(dtype) if kept else np.zeros(0, dtype)
    values = pa.array(flat, mask=is_null(flat))
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array([item is None for item in items]))


def nested(lists, sizes):
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, lists)


def shifted(values):
    """An integer list as the table stores it: the least value, and what each element is above it."""
    base = int(values[values >= 0].min())
    return base, np.where(values < 0, ABSENT, values - base)


def increments(values):
    """The first element, and what each element adds to the last one there was; negative after a reset."""
    there = np.flatnonzero(values >= 0)
    steps = np.full(len(values), ABSENT)
    steps[there] = np.diff(values[there], prepend=values[there[0]])
    return int(values[there[0]]), steps


def common(rows):
    """The columns that both layouts have, for rows that are (series, anything)."""
    n = len(rows)
    labels = [one.labels for one, *_ in rows]
    columns = {
        'row_kind': pa.array(['series'] * n),
        'block': pa.array([1] * n),
        'min_time': pa.array([START] * n),
        'max_time': pa.array([START + len(one.counts) * INTERVAL for one, *_ in rows]),
        'count': pa.array([len(one.counts) for one, *_ in rows]),
        'metric': pa.array([METRIC] * n),
        'labels': pa.array([list(label.items()) for label in labels], pa.map_(pa.string(), pa.string())),
        'ts_ref': pa.array([one.target for one, *_ in rows]),
        'timestamps': pa.nulls(n, pa.list_(pa.int64())),
        'h_form': pa.array([0] * n, pa.int32()),
        'h_float': pa.array([False] * n),
        'h_schema': pa.array([SCHEMA] * n, pa.int32()),
        'h_zero_threshold': pa.array([2.0 ** -128] * n),
    }
    for name in ('job', 'instance', 'namespace', 'service'):
        columns['l_' + name] = pa.array([label[name] for label in labels])
    return columns


def sums_of(one):
    return np.where(one.missing, np.nan, one.sums)


# --- Layouts: each gives a table of series rows -----------------------------------------------------------------------

def part_rows(fleet):
    for one in fleet:
        yield one, 'count', None, one.counts
        yield one, 'sum', None, None
        for position, index in enumerate(one.indexes):
            yield one, 'positive', int(index), one.buckets[:, position]


def by_part(fleet, order=None, count_apart=False, code=shifted):
    """A row per part, as docs/format/metrics-table.md has it."""
    rows = list(part_rows(fleet))
    if order:
        rows.sort(key=order)
    columns = common(rows)
    pairs = [(None, None) if values is None else code(values) for *_, values in rows]
    is_count = [part == 'count' for _, part, _, _ in rows]
    columns |= {
        'values_base': pa.array([base for base, _ in pairs], pa.int64()),
        'values_mul': pa.array([None if base is None else 1.0 for base, _ in pairs], pa.float64()),
        'values_div': pa.array([None if base is None else 1.0 for base, _ in pairs], pa.float64()),
        'values_int': int_list([None if count_apart and c else v for (_, v), c in zip(pairs, is_count)]),
        'values_double': double_list([sums_of(one) if part == 'sum' else None for one, part, *_ in rows]),
        'h_part': pa.array([part for _, part, *_ in rows]),
        'h_bucket': pa.array([index for _, _, index, _ in rows], pa.int32()),
        'h_lower': pa.array([None if i is None else GROWTH ** (i - 1) for _, _, i, _ in rows]),
        'h_upper': pa.array([None if i is None else GROWTH ** i for _, _, i, _ in rows]),
    }
    if count_apart:
        columns['h_count'] = int_list([v if c else None for (_, v), c in zip(pairs, is_count)])
    return pa.table(columns)


def by_part_then_labels(fleet):
    """The same rows, but all counts of a metric first, then all sums, then each bucket of all series."""
    place = {id(one): number for number, one in enumerate(fleet)}
    parts = ['count', 'sum', 'positive']
    return by_part(fleet, order=lambda row: (parts.index(row[1]), row[2] or 0, place[id(row[0])]))


def count_apart(fleet):
    """The same rows in the same order; the counts' integers lie in a list column of their own."""
    return by_part(fleet, count_apart=True)


def part_increments(fleet):
    """The same again, with what each sample adds to the one before in place of the counts themselves."""
    return by_part(fleet, count_apart=True, code=increments)


def row_of(fleet):
    columns = common([(one,) for one in fleet])
    counts = [shifted(one.counts) for one in fleet]
    columns['count_base'] = pa.array([base for base, _ in counts])
    columns['h_count'] = int_list([values for _, values in counts])
    columns['h_sum'] = double_list([sums_of(one) for one in fleet])
    return columns


def bucket_major(fleet):
    """A row per series; one list of counts per bucket within it."""
    columns = row_of(fleet)
    pairs = [[shifted(column) for column in one.buckets.T] for one in fleet]
    columns['h_buckets'] = plain_list([one.indexes for one in fleet])
    columns['h_bases'] = int_list([np.array([base for base, _ in pair]) for pair in pairs])
    lists = int_list([values for pair in pairs for _, values in pair])
    columns['h_values'] = nested(lists, [len(pair) for pair in pairs])
    return pa.table(columns)


def sample_major(fleet):
    """A row per series; one list with the counts of all buckets after another, sample by sample."""
    columns = row_of(fleet)
    pairs = [[shifted(column) for column in one.buckets.T] for one in fleet]
    columns['h_buckets'] = plain_list([one.indexes for one in fleet])
    columns['h_bases'] = int_list([np.array([base for base, _ in pair]) for pair in pairs])
    columns['h_values'] = int_list([np.stack([v for _, v in pair], axis=1).ravel() for pair in pairs])
    return pa.table(columns)


def as_sent(fleet):
    """A row per series; per sample the spans and the differences from bucket to bucket, as remote write sends them."""
    columns = row_of(fleet)
    offsets, lengths, deltas = [], [], []
    for one in fleet:
        for sample in one.buckets:
            there = np.flatnonzero(sample >= 0)
            indexes = one.indexes[there]
            cuts = np.flatnonzero(np.diff(indexes) != 1) + 1
            starts = np.concatenate([[0], cuts])[:len(there)].astype(int)
            ends = np.concatenate([cuts, [len(there)]])[:len(starts)].astype(int)
            begin = indexes[starts] if len(there) else np.zeros(0, int)
            end = begin + (ends - starts)
            offsets.append(np.concatenate([begin[:1], begin[1:] - end[:-1]]))
            lengths.append(ends - starts)
            deltas.append(np.diff(sample[there], prepend=0))
    sizes = [len(one.counts) for one in fleet]
    columns['h_span_offsets'] = nested(plain_list(offsets), sizes)
    columns['h_span_lengths'] = nested(plain_list(lengths), sizes)
    columns['h_deltas'] = nested(plain_list(deltas), sizes)
    return pa.table(columns)


LAYOUTS = {
    'part': by_part,
    'part-sorted': by_part_then_labels,
    'part-count-apart': count_apart,
    'part-increments': part_increments,
    'row-bucket-major': bucket_major,
    'row-sample-major': sample_major,
    'row-as-sent': as_sent,
}


# --- Files ------------------------------------------------------------------------------------------------------------

DICTIONARY = ['row_kind', 'block', 'metric', 'labels.key_value.key', 'labels.key_value.value', 'l_job', 'l_instance',
              'l_namespace', 'l_service', 'ts_ref', 'values_mul', 'values_div', 'h_part']


def write(path, rows, timelines, level, group):
    names = set(rows.schema.names)
    tail = {
        'row_kind': pa.array(['timestamps'] * len(timelines)),
        'block': pa.array([1] * len(timelines)),
        'ts_ref': pa.array(range(len(timelines)), pa.int64()),
        'timestamps': int_list(timelines),
    }
    times = pa.table({
        field.name: tail.get(field.name, pa.nulls(len(timelines), field.type)) for field in rows.schema
    })
    began = time.process_time()
    with pq.ParquetWriter(
        path, rows.schema, compression='zstd', compression_level=level, write_page_index=True,
        data_page_size=256 * 1024, max_rows_per_page=1_024, write_batch_size=256, data_page_version='1.0',
        use_dictionary=[name for name in DICTIONARY if name.split('.')[0] in names],
        column_encoding={'timestamps.list.element': 'DELTA_BINARY_PACKED'},
    ) as writer:
        writer.write_table(rows, row_group_size=group)
        writer.write_table(times)
    return time.process_time() - began


class Compact:
    """Thrift's compact protocol, as far as a Parquet footer and an offset index need it: structs as dicts by field."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def zigzag(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def value(self, kind):
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            self.at += 1
            return self.data[self.at - 1]
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            self.at += 8
            return None
        if kind == 8:
            size = self.varint()
            self.at += size
            return self.data[self.at - size:self.at]
        if kind in (9, 10):
            head = self.data[self.at]
            self.at += 1
            size = head >> 4 if head >> 4 < 15 else self.varint()
            inner = head & 15
            if inner in (1, 2):
                self.at += size
                return None
            return [self.value(inner) for _ in range(size)]
        if kind == 12:
            return self.struct()
        raise ValueError(f'thrift type {kind}')

    def struct(self):
        fields, number = {}, 0
        while True:
            head = self.data[self.at]
            self.at += 1
            if head == 0:
                return fields
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            fields[number] = self.value(head & 15)


class Pages:
    """Where the pages of a file lie: per column (offset in the file, compressed size, first row, end row)."""

    def __init__(self, path):
        data = open(path, 'rb').read()
        size = int.from_bytes(data[-8:-4], 'little')
        footer = Compact(data[-8 - size:-8]).struct()
        self.columns, self.dictionaries, first = {}, {}, 0
        for group in footer[4]:
            for chunk in group[1]:
                name = chunk[3][3][0].decode()
                pages = Compact(data[chunk[4]:chunk[4] + chunk[5]]).struct()[1]
                starts = [page[3] for page in pages] + [group[3]]
                self.columns.setdefault(name, []).extend(
                    (page[2], first + start, first + end) for page, start, end in zip(pages, starts, starts[1:]))
                if chunk[3].get(11) and chunk[3].get(11) < chunk[3][9]:
                    self.dictionaries.setdefault(name, []).append((chunk[3][9] - chunk[3][11], first, first + group[3]))
            first += group[3]

    def bytes(self, names, rows=None):
        """Bytes of the pages of these columns that hold any of these rows (None: of all pages)."""
        wanted = None if rows is None else np.asarray(sorted(rows))
        total = 0
        for name in names:
            for size, start, end in self.columns.get(name, []) + self.dictionaries.get(name, []):
                if wanted is None or np.searchsorted(wanted, start) < np.searchsorted(wanted, end):
                    total += size
        return total


def reads(name, table, pages, chosen):
    """Bytes of value pages per question, and of the columns that say which rows these are."""
    one = {i for i, label in enumerate(table['labels'].to_pylist()) if dict(label) == chosen}
    if name.startswith('part'):
        part, bucket = table['h_part'].to_pylist(), table['h_bucket'].to_pylist()
        counts = {i for i, p in enumerate(part) if p == 'count'}
        sums = {i for i, p in enumerate(part) if p == 'sum'}
        middle = {i for i, b in enumerate(bucket) if b == bucket_of_interest(table)}
        held = 'h_count' if 'h_count' in pages.columns else 'values_int'
        return {
            'counts of all': pages.bytes([held], counts),
            'counts and sums of all': pages.bytes([held], counts) + pages.bytes(['values_double'], sums),
            'one bucket of all': pages.bytes(['values_int'], middle),
            'count of one': pages.bytes([held], counts & one),
            'one series whole': pages.bytes({held, 'values_int', 'values_double'}, one),
            'selecting columns': pages.bytes(['h_part', 'h_bucket', 'ts_ref', 'values_base']),
            'labels': pages.bytes(['labels']),
        }
    body = [name for name in ('h_values', 'h_span_offsets', 'h_span_lengths', 'h_deltas') if name in pages.columns]
    return {
        'counts of all': pages.bytes(['h_count']),
        'counts and sums of all': pages.bytes(['h_count', 'h_sum']),
        'one bucket of all': pages.bytes(body),
        'count of one': pages.bytes(['h_count'], one),
        'one series whole': pages.bytes(['h_count', 'h_sum', *body], one),
        'selecting columns': pages.bytes(['h_buckets', 'h_bases', 'ts_ref', 'count_base']),
        'labels': pages.bytes(['labels']),
    }


def bucket_of_interest(table):
    seen = [bucket for bucket in table['h_bucket'].to_pylist() if bucket is not None]
    return statistics.mode(seen)


# --- SQL --------------------------------------------------------------------------------------------------------------

TIMES = "JOIN m t ON t.row_kind = 'timestamps' AND t.block = s.block AND t.ts_ref = s.ts_ref"
MINUTE = 'ts // 60000'


def sql_of(name, bucket, chosen):
    """(buckets summed by minute and bucket, counts by minute, one bucket by minute, one series' buckets by bucket)"""
    mine = f"s.l_instance = '{chosen['instance']}' AND s.labels['http_route'] = '{chosen['http_route']}'"
    if name.startswith('part'):
        held = 'h_count' if name in ('part-count-apart', 'part-increments') else 'values_int'
        unnested = lambda column, where: f"""
            SELECT s.h_bucket AS b, unnest(t.timestamps) AS ts, s.values_base AS base, unnest(s.{column}) AS v
            FROM m s {TIMES} WHERE s.row_kind = 'series' AND {where}"""
        if name == 'part-increments':
            plain = unnested
            unnested = lambda column, where: f"""
                SELECT b, ts, base, CASE WHEN v IS NOT NULL THEN sum(v) OVER (
                    PARTITION BY row ORDER BY ts ROWS UNBOUNDED PRECEDING)::BIGINT END AS v
                FROM ({plain(column, where).replace('SELECT', 'SELECT s.file_row_number AS row,', 1)})"""
        total = '(base + v)'
        buckets = unnested('values_int', "s.h_part = 'positive'")
        counts = unnested(held, "s.h_part = 'count'")
        single = unnested('values_int', f"s.h_part = 'positive' AND s.h_bucket = {bucket}")
        series = unnested('values_int', f"s.h_part = 'positive' AND {mine}")
    else:
        counts = f"""SELECT unnest(t.timestamps) AS ts, s.count_base AS base, unnest(s.h_count) AS v
            FROM m s {TIMES} WHERE s.row_kind = 'series'"""
        total = '(base + v)'
        if name == 'row-bucket-major':
            inner = lambda where: f"""
                SELECT t.timestamps AS all_ts, unnest(s.h_buckets) AS b, unnest(s.h_bases) AS base,
                       unnest(s.h_values) AS vs
                FROM m s {TIMES} WHERE s.row_kind = 'series' AND {where}"""
            outer = lambda source, where: f"""
                SELECT b, base, unnest(all_ts) AS ts, unnest(vs) AS v FROM ({source}) WHERE {where}"""
        elif name == 'row-sample-major':
            inner = lambda where: f"""
                SELECT unnest(flatten(list_transform(t.timestamps, lambda x: s.h_buckets))) AS b,
                       unnest(flatten(list_transform(t.timestamps, lambda x: s.h_bases))) AS base,
                       unnest(flatten(list_transform(t.timestamps,
                              lambda x: list_transform(s.h_buckets, lambda y: x)))) AS ts,
                       unnest(s.h_values) AS v
                FROM m s {TIMES} WHERE s.row_kind = 'series' AND {where}"""
            outer = lambda source, where: f'SELECT * FROM ({source}) WHERE {where}'
        else:
            inner = lambda where: f"""
                SELECT unnest(t.timestamps) AS ts, unnest(s.h_span_offsets) AS o, unnest(s.h_span_lengths) AS l,
                       unnest(s.h_deltas) AS d
                FROM m s {TIMES} WHERE s.row_kind = 'series' AND {where}"""
            outer = lambda source, where: f"""SELECT * FROM (
                SELECT ts, 0 AS base,
                       unnest(flatten(list_transform(range(1, len(o) + 1), lambda k: range(
                           (list_sum(o[1:k]) + coalesce(list_sum(l[1:k - 1]), 0))::BIGINT,
                           (list_sum(o[1:k]) + list_sum(l[1:k]))::BIGINT)))) AS b,
                       unnest(list_transform(range(1, len(d) + 1), lambda k: list_sum(d[1:k])::BIGINT)) AS v
                FROM ({source})) WHERE {where}"""
        buckets = outer(inner('true'), 'true')
        single = outer(inner('true'), f'b = {bucket}')
        series = outer(inner(mine), 'true')
    return {
        'all buckets': f'SELECT {MINUTE} AS m, b, sum{total} AS n FROM ({buckets}) WHERE v IS NOT NULL GROUP BY ALL',
        'counts': f'SELECT {MINUTE} AS m, sum{total} AS n FROM ({counts}) WHERE v IS NOT NULL GROUP BY ALL',
        'one bucket': f'SELECT {MINUTE} AS m, sum{total} AS n FROM ({single}) WHERE v IS NOT NULL GROUP BY ALL',
        'one series': f'SELECT {MINUTE} AS m, b, sum{total} AS n FROM ({series}) WHERE v IS NOT NULL GROUP BY ALL',
    }


def quantile(buckets):
    """histogram_quantile over summed buckets: the bound at which 99 % of each minute's observations are reached."""
    return f"""SELECT m, min(b) FROM (
        SELECT m, b, sum(n) OVER (PARTITION BY m ORDER BY b) AS up, sum(n) OVER (PARTITION BY m) AS whole
        FROM ({buckets})) WHERE up >= 0.99 * whole GROUP BY m ORDER BY m"""


def ask(path, queries, repeats):
    """Median CPU milliseconds and the answer per query, warm, one thread."""
    connection = duckdb.connect()
    connection.execute('SET threads = 1')
    connection.execute(f"CREATE VIEW m AS SELECT * FROM read_parquet('{path}', file_row_number = true)")
    found = {}
    for what, query in queries.items():
        query = quantile(query) if what == 'all buckets' else f'SELECT * FROM ({query}) ORDER BY ALL'
        took = []
        for _ in range(repeats + 1):
            began = time.process_time()
            answer = connection.execute(query).fetchall()
            took.append((time.process_time() - began) * 1000)
            if took[0] > 10_000:
                break
        found[what] = (statistics.median(took[1:] or took), answer)
    return found


# --- The table --------------------------------------------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--series', type=int, default=400)
    parser.add_argument('--samples', type=int, default=480)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--slowest', type=float, default=0.3, help='requests per second of the slowest series')
    parser.add_argument('--fastest', type=float, default=200.0, help='and of the fastest; rates are log-uniform')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--group', type=int, default=ROW_GROUP, help='rows per row group')
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    fleet, timelines = make_fleet(rng, options)
    samples = sum(int((one.counts >= 0).sum()) for one in fleet)
    cells = sum(int((one.buckets >= 0).sum()) for one in fleet)
    widths = sorted(len(one.indexes) for one in fleet)
    late = sum(int((one.buckets[0] < 0).sum()) for one in fleet)
    print(f'{len(fleet)} series, {samples} histograms, {cells} bucket values; buckets per series '
          f'{widths[0]} / {widths[len(widths) // 2]} / {widths[-1]} (min, median, max), '
          f'{late} of {sum(widths)} absent at first')
    chosen = fleet[len(fleet) // 2].labels
    bucket, expected = None, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, layout in LAYOUTS.items():
            table = layout(fleet)
            if name == 'part':
                bucket = bucket_of_interest(table)
            print(f'\n{name}: {table.num_rows} rows')
            for level in (3, 9):
                path = os.path.join(folder, f'{name}-{level}.parquet')
                seconds = min(write(path, table, timelines, level, options.group) for _ in range(2))
                size = os.path.getsize(path)
                print(f'  zstd {level}: {size} bytes, {size / samples:.2f} a histogram, {size / cells:.4f} a bucket '
                      f'value, written in {seconds:.2f} s of CPU')
            path = os.path.join(folder, f'{name}-3.parquet')
            pages = Pages(path)
            for what, size in reads(name, table, pages, chosen).items():
                print(f'  pages, {what}: {size / 1024:.1f} KiB')
            by_size = sorted(((pages.bytes([column]), column) for column in pages.columns), reverse=True)[:6]
            print('  columns: ' + ', '.join(f'{column} {size / 1024:.0f} KiB' for size, column in by_size))
            for what, (took, answer) in ask(path, sql_of(name, bucket, chosen), options.repeats).items():
                same = expected.setdefault(what, answer) == answer
                print(f'  SQL, {what}: {took:.0f} ms, {len(answer)} rows{"" if same else "  DIFFERS FROM part"}')


if __name__ == '__main__':
    main()
