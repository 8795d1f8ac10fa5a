#!/usr/bin/env bash
# Tries each installed part in earnest: servers answer a query, readers read a Delta table.
#
#   check.sh          all parts
#   check.sh spark    only this one
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
parts=${FIRN_CACHE:-$HOME/.cache/firn}/parts
all=(debian duckdb2 duckdb1 otelpy seaweedfs spark victoriametrics telemetrygen minio prometheus otelcol)

main() {
  if [[ ${1-} == --try ]]; then # a process of its own, so that its first failing command ends it
    try "$2"
    return
  fi
  (($# > 0)) || set -- "${all[@]}"
  local part failed=() started log
  log=$(mktemp)
  for part in "$@"; do
    started=$SECONDS
    if "$BASH" "${BASH_SOURCE[0]}" --try "$part" >"$log" 2>&1 </dev/null; then
      echo "check: $part works ($((SECONDS - started)) s)"
    else
      failed+=("$part")
      sed "s/^/  $part | /" "$log" >&2
      echo "check: $part does not work" >&2
    fi
  done
  rm -f "$log"
  ((${#failed[@]} == 0))
}

try() {
  scratch=$(mktemp -d)
  trap finish EXIT
  local bin=$parts/bin
  case $1 in
    prometheus)
      expect_version 3.15.0 "$bin/prometheus" --version
      expect_version 3.15.0 "$bin/promtool" --version
      serve_prometheus "$bin/prometheus"
      ;;
    victoriametrics)
      expect_version 1.150.0 "$bin/vmagent" --version
      expect_version 1.150.0 "$bin/victoria-metrics" --version
      serve /health "$bin/victoria-metrics" -storageDataPath="$scratch/data" -httpListenAddr=127.0.0.1:PORT
      ;;
    debian)
      expect_version 2.42 "$bin/debian-prometheus" --version
      expect_version victoria-metrics_1.79 cat "$parts/debian/packages"
      serve_prometheus "$bin/debian-prometheus"
      serve /health "$bin/debian-vmagent" -promscrape.config="$scratch/prometheus.yml" \
        -remoteWrite.url=http://127.0.0.1:1/ -remoteWrite.tmpDataPath="$scratch/queue" -httpListenAddr=127.0.0.1:PORT
      serve /metrics "$bin/debian-node-exporter" --web.listen-address=127.0.0.1:PORT
      ;;
    duckdb2) write_table && "$parts/duckdb2/bin/python" "$here/check/duckdb2.py" "$scratch/table" ;;
    duckdb1) write_table && "$parts/duckdb1/bin/python" "$here/check/duckdb1.py" "$scratch/table" ;;
    spark) "$parts/spark/bin/python" "$here/check/spark.py" "$scratch/table" ;;
    minio)
      expect_version 7aac2a2c5b7c "$bin/minio" --version
      serve /minio/health/ready "$bin/minio" server --address 127.0.0.1:PORT "$scratch/data"
      ;;
    seaweedfs)
      expect_version 4.48 "$bin/weed" version
      serve /healthz seaweedfs PORT
      ;;
    otelpy) "$parts/otelpy/bin/python" "$here/check/otelpy.py" ;;
    otelcol)
      expect_version 0.160.0 "$bin/otelcol" --version
      serve /metrics otelcol PORT
      ;;
    telemetrygen) expect_version metrics "$bin/telemetrygen" --help ;;
    *) echo "no part is called '$1'; there are: ${all[*]}"; return 1 ;;
  esac
}

# Three rows in a Delta table, by deltalake: the duckdb1 part has no writer of its own.
write_table() { "$parts/duckdb2/bin/python" "$here/check/write_table.py" "$scratch/table"; }

expect_version() {
  local want=$1 said
  shift
  said=$("$@" 2>&1)
  [[ $said == *"$want"* ]] || { echo "$1 should be $want, but says: $said"; return 1; }
}

serve_prometheus() {
  echo 'global: {scrape_interval: 1s}' >"$scratch/prometheus.yml"
  serve '/api/v1/query?query=1%2B1' "$1" --config.file="$scratch/prometheus.yml" \
    --storage.tsdb.path="$scratch/tsdb" --web.listen-address=127.0.0.1:PORT
}

# seaweedfs PORT: the S3 server on this port, and the three behind it on others.
seaweedfs() {
  local flags=(-s3.port="$1") server
  for server in master.port master.port.grpc volume.port volume.port.grpc filer.port filer.port.grpc s3.port.grpc; do
    flags+=("-$server=$(free_port)")
  done
  exec "$parts/bin/weed" server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$scratch" -filer -s3 "${flags[@]}" \
    -s3.port.iceberg=0 -s3.port.lance=0 -master.telemetry=false
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# otelcol PORT: its own metrics on this port, all that it is built of in use.
otelcol() { OWN_PORT=$1 OTLP_PORT=$(free_port) exec "$parts/bin/otelcol" --config "$here/check/otelcol.yml"; }

# serve PATH COMMAND...: starts the command with PORT replaced by a free one, waits for 200 on PATH.
serve() {
  local path=$1 port
  shift
  port=$(free_port)
  "${@/PORT/$port}" >"$scratch/server.log" 2>&1 &
  server=$!
  if ! python3 "$here/check/wait_http.py" "http://127.0.0.1:$port$path"; then
    cat "$scratch/server.log"
    return 1
  fi
  stop
}

stop() {
  [[ -n ${server-} ]] || return 0
  kill -9 "$server" 2>/dev/null || true # its folder goes with it
  wait "$server" 2>/dev/null || true
  server=
}

finish() {
  stop
  rm -rf "$scratch"
}

main "$@"
