"""What every reader takes and prints, so that a test can compare readers byte for byte.

    read_ENGINE.py TABLE_DIR [VIEWS_SQL] [--stale] [--histograms | --all]

prints one line per float sample, in the order of the lines' bytes:

    canonical labels as JSON  TAB  timestamp in ms  TAB  the 64 bits of the value in 16 hex digits

and with --histograms instead one line per native histogram sample and part:

    canonical labels as JSON  TAB  timestamp in ms  TAB  part[:bucket]  TAB  the 64 bits

With --all it prints both.

The SQL views leave stale markers out; --stale adds them, from `stale_at`, as 7ff0000000000002;
those of histograms are of the part `stale`.
The JSON is compact, its names sorted, non-ASCII as it is: what serde_json makes of a BTreeMap.
"""

import argparse
import json
import struct
import sys

STALE_BITS = 0x7FF0000000000002


def arguments(views=True):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("table_dir")
    if views:
        parser.add_argument("views_sql", help="the SQL file that defines metrics_samples over metrics")
    parser.add_argument("--stale", action="store_true")
    parser.add_argument("--histograms", action="store_true")
    parser.add_argument("--all", action="store_true")
    return parser.parse_args()


def kinds(options):
    """Whether to print histograms, for each turn."""
    return (False, True) if options.all else (options.histograms,)


def double_bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def sample_line(labels, ts, bits):
    return f"{canonical(labels)}\t{ts}\t{bits:016x}"


def histogram_line(labels, ts, part, bucket, bits):
    name = part if bucket is None else f"{part}:{bucket}"
    return f"{canonical(labels)}\t{ts}\t{name}\t{bits:016x}"


def stale_line(labels, ts, histograms):
    if histograms:
        return histogram_line(labels, ts, "stale", None, STALE_BITS)
    return sample_line(labels, ts, STALE_BITS)


def canonical(labels):
    return json.dumps(dict(labels), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def print_lines(lines):
    # Code points sort as their UTF-8 bytes do, so a test may sort bytes.
    text = "".join(line + "\n" for line in sorted(lines))
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()
