"""How many samples tables hold, and how many different ones: two numbers per table, equal unless it repeats itself.

    count_samples.py TABLE_DIR...

A sample is a series and a timestamp; of a native histogram its count part stands for it. Stale markers count.
"""

import sys

from read_deltalake import read, samples


def main():
    for table in sys.argv[1:]:
        rows, timelines = read(table)
        found = [key for row in rows if row["h_part"] in (None, "count") for key in keys(row, timelines)]
        print(len(found), len(set(found)))


def keys(row, timelines):
    labels = tuple(sorted(row["labels"].items()))
    yield from ((labels, ts) for ts, _ in samples(row, timelines))
    yield from ((labels, ts) for ts in row["stale_at"] or [])


main()
