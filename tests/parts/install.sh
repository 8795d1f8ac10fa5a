#!/usr/bin/env bash
# Installs the real servers and clients Firn is tested with, at the versions pinned beside this file.
#
#   install.sh                    all of them
#   install.sh prometheus spark   only these
#   install.sh --list             the names, and whether each is ready
#
# They land in ${FIRN_CACHE:-~/.cache/firn}/parts, never in the checkout, and no service is started.
# A part whose recipe and pins have not changed is left alone, so a second run costs nothing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
parts=${FIRN_CACHE:-$HOME/.cache/firn}/parts
# Quick ones first: they fail first.
all=(debian duckdb2 duckdb1 otelpy seaweedfs spark victoriametrics telemetrygen minio prometheus otelcol)

debian_packages=('prometheus=2.42.*' 'prometheus-node-exporter=1.5.*' 'victoria-metrics=1.79.*')

main() {
  case ${1-all} in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; return ;;
    --list) list; return ;;
    --build) build "$2"; return ;; # a process of its own, so that its first failing command ends it
    all) set -- "${all[@]}" ;;
  esac
  local part failed=()
  for part in "$@"; do
    [[ " ${all[*]} " == *" $part "* ]] || die "no part is called '$part'; there are: ${all[*]}"
  done
  mkdir -p "$parts"/{bin,log,stamp}
  for part in "$@"; do
    ensure "$part" || failed+=("$part")
  done
  ((${#failed[@]} == 0)) || die "not installed: ${failed[*]}"
}

list() {
  local part
  for part in "${all[@]}"; do
    if ready "$part"; then echo "$part ready"; else echo "$part absent"; fi
  done
}

# --- one part, whatever it is -------------------------------------------------------------------

ensure() {
  local part=$1 log=$parts/log/$1.log started=$SECONDS
  if ready "$part"; then
    echo "parts: $part is ready"
    return
  fi
  exec 9>"$parts/stamp/$part.lock"
  flock --nonblock 9 || { echo "parts: $part is being installed by another run, waiting"; flock 9; }
  if ready "$part"; then
    echo "parts: $part is ready"
    return
  fi
  echo "parts: installing $part"
  rm -f "$parts/stamp/$part"
  if ! nice -n 10 "$BASH" "${BASH_SOURCE[0]}" --build "$part" >"$log" 2>&1 </dev/null 9>&-; then
    tail -n 40 "$log" | sed "s/^/  $part | /" >&2
    echo "parts: $part failed after $((SECONDS - started)) s; the whole log is $log" >&2
    return 1
  fi
  key "$part" >"$parts/stamp/$part"
  echo "parts: $part installed in $((SECONDS - started)) s"
}

ready() {
  local stamp=$parts/stamp/$1
  [[ -f $stamp && $(<"$stamp") == "$(key "$1")" ]] && works "$1"
}

# The key changes with the recipe, the pins, and the Python a virtual environment hangs on.
key() {
  {
    declare -f "build_$1"
    case $1 in
      prometheus | victoriametrics | minio | telemetrygen) declare -f build_go; cat "$here/go/$1"/{go.mod,go.sum,parts.go} ;;
      otelcol) declare -f build_go; cat "$here/go/$1"/{go.mod,go.sum,*.go} ;;
      debian) echo "${debian_packages[@]}" ;;
      duckdb1 | duckdb2 | otelpy | seaweedfs) declare -f build_venv; python3 --version; cat "$here/python/$1.txt" ;;
      spark) declare -f build_venv fetch_jars; python3 --version; cat "$here/python/spark.txt" "$here/spark"/{pom.xml,jars.sha256} ;;
    esac
  } 2>&1 | sha256sum
}

# What a part must have left behind: a stamp alone does not survive a half-emptied cache.
works() {
  local bin=$parts/bin
  case $1 in
    prometheus) [[ -x $bin/prometheus && -x $bin/promtool ]] ;;
    victoriametrics) [[ -x $bin/victoria-metrics && -x $bin/vmagent ]] ;;
    debian) [[ -x $bin/debian-prometheus && -x $bin/debian-node-exporter && -x $bin/debian-vmagent ]] ;;
    minio | otelcol | telemetrygen) [[ -x $bin/$1 ]] ;;
    duckdb1 | duckdb2 | otelpy) [[ -x $parts/$1/bin/python ]] ;;
    seaweedfs) [[ -x $bin/weed ]] ;;
    spark) [[ -x $parts/spark/bin/python && -d $parts/spark/jars ]] ;;
  esac
}

# --- recipes ------------------------------------------------------------------------------------

build() {
  "build_$1"
  works "$1" || die "the recipe of $1 ended well but left something out"
}

# Optional service discoveries are left out, they compile for minutes: the tests need only static,
# file and HTTP discovery, which stay.
build_prometheus() {
  build_go prometheus -tags remove_all_sd \
    -ldflags "-X github.com/prometheus/common/version.Version=3.15.0" \
    github.com/prometheus/prometheus/cmd/{prometheus,promtool}
}

build_victoriametrics() {
  CGO_ENABLED=0 build_go victoriametrics \
    -ldflags "-X github.com/VictoriaMetrics/VictoriaMetrics/lib/buildinfo.Version=v1.150.0" \
    github.com/VictoriaMetrics/VictoriaMetrics/app/{victoria-metrics,vmagent}
}

build_minio() {
  CGO_ENABLED=0 build_go minio -ldflags "-s -w -X github.com/minio/minio/cmd.CommitID=7aac2a2c5b7c" \
    github.com/minio/minio
}

# The collector is the program that its builder wrote from go/otelcol/builder.yaml.
build_otelcol() { CGO_ENABLED=0 build_go otelcol -tags remove_all_sd -ldflags "-s -w" .; }

build_telemetrygen() {
  CGO_ENABLED=0 build_go telemetrygen -ldflags "-s -w" \
    github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen
}

# build_go GROUP FLAGS... PACKAGES...
build_go() {
  local group=$1 program
  shift
  need go "Go 1.26 or newer"
  rm -rf "${parts:?}/$group"
  mkdir -p "$parts/$group"
  (cd "$here/go/$group" && GOFLAGS=-mod=readonly go build -p 2 -trimpath -o "$parts/$group/" "$@")
  for program in "$parts/$group"/*; do
    ln -sfn "../$group/${program##*/}" "$parts/bin/${program##*/}"
  done
}

# Unpacked, not installed: nothing is started, nothing on the machine changes.
build_debian() {
  need apt-get "a Debian system"
  need dpkg-deb "a Debian system"
  local downloads=$parts/debian.deb deb
  rm -rf "$downloads" "${parts:?}/debian"
  mkdir -p "$downloads" "$parts/debian"
  cd "$downloads"
  if ! apt_get download "${debian_packages[@]}"; then
    echo "apt does not know all of ${debian_packages[*]}; updating its lists"
    apt_get update || die "apt-get update failed (it needs root)"
    apt_get download "${debian_packages[@]}" || die "this Debian has not ${debian_packages[*]}; Debian 12 has"
  fi
  for deb in ./*.deb; do
    dpkg-deb -x "$deb" "$parts/debian"
  done
  ls >"$parts/debian/packages" # the programs themselves do not tell: Debian's vmagent prints no version
  rm -rf "$downloads"
  link_debian debian-prometheus prometheus
  link_debian debian-promtool promtool
  link_debian debian-node-exporter prometheus-node-exporter
  link_debian debian-victoria-metrics victoria-metrics
  link_debian debian-vmagent vmagent
}

link_debian() { ln -sfn "../debian/usr/bin/$2" "$parts/bin/$1"; }

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -q -o APT::Sandbox::User=root "$@"; }

build_duckdb1() { build_venv duckdb1; }
build_duckdb2() { build_venv duckdb2; }
build_otelpy() { build_venv otelpy; }

build_seaweedfs() {
  build_venv seaweedfs
  ln -sfn ../seaweedfs/bin/weed "$parts/bin/weed"
}

build_spark() {
  build_venv spark
  fetch_jars
}

build_venv() {
  local venv=$parts/$1
  need python3 "Python 3.10 or newer"
  python3 -c 'import ensurepip' || apt_install python3-venv
  rm -rf "${venv:?}"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --no-deps -r "$here/python/$1.txt"
  "$venv/bin/python" -m pip check
}

fetch_jars() {
  local jars=$parts/spark/jars
  need java "Java 17 or newer"
  command -v mvn || apt_install maven
  rm -rf "$jars"
  mvn -B -q -C -f "$here/spark/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars"
  (cd "$jars" && sha256sum --check --strict "$here/spark/jars.sha256")
}

apt_install() {
  echo "$1 is missing, asking apt for it"
  apt_get install -y --no-install-recommends "$1" ||
    { apt_get update && apt_get install -y --no-install-recommends "$1"; } ||
    die "$1 is missing and apt-get could not install it (it needs root)"
}

need() { command -v "$1" >/dev/null || die "$1 is not on the PATH: this part needs $2"; }

die() {
  echo "parts: $*" >&2
  exit 1
}

main "$@"
