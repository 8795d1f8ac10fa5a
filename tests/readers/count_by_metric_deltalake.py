"""How many samples a table holds of each metric, repetitions counted: lines of name and number. By deltalake.

    count_by_metric_deltalake.py TABLE_DIR
"""

import sys
from collections import Counter

from read_deltalake import read, samples


def main():
    rows, timelines = read(sys.argv[1])
    counts = Counter()
    for row in rows:
        counts[row["labels"]["__name__"]] += sum(1 for _ in samples(row, timelines)) + len(row["stale_at"] or [])
    for name, count in sorted(counts.items()):
        print(f"{name}\t{count}")


main()
