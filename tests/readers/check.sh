#!/usr/bin/env bash
# Tries the readers on a table that Firn had no part in: each must print what fixture.py wrote down.
#
#   check.sh            all four
#   check.sh duckdb2    only this one
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sql=$here/../../deploy/sql
parts=${FIRN_CACHE:-$HOME/.cache/firn}/parts
export PYTHONDONTWRITEBYTECODE=1

(($# > 0)) || set -- deltalake duckdb2 duckdb1 spark
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
"$parts/duckdb2/bin/python" "$here/fixture.py" "$scratch/it's a table" floats histograms

for reader in "$@"; do
  case $reader in
    deltalake) command=(duckdb2 "$scratch/it's a table") ;; # it lives where DuckDB 2 lives
    duckdb1 | duckdb2) command=("$reader" "$scratch/it's a table" "$sql/duckdb.sql") ;;
    spark) command=(spark "$scratch/it's a table" "$sql/spark.sql") ;;
  esac
  started=$SECONDS
  read_as() { "$parts/${command[0]}/bin/python" "$here/read_$reader.py" "${command[@]:1}" "$@" 2>errors || { cat errors; exit 1; }; }
  diff <(read_as --stale) floats
  diff <(read_as) <(grep -v 7ff0000000000002 floats)
  diff <(read_as --stale --histograms) histograms
  echo "readers: $reader agrees on $(wc -l <floats) float and $(wc -l <histograms) histogram lines ($((SECONDS - started)) s)"
done
