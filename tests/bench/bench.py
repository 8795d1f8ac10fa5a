#!/usr/bin/env python3
"""Firn beside Prometheus and VictoriaMetrics, one after the other, on the same load. Python's library only.

Reports server CPU (user + system, from outside the process) per sample until the last acknowledgement and until
everything is queryable and flushed, peak memory, bytes at rest, and the CPU of 24 dashboard queries over recent
data and over blocks. The host's speed drifts, so only ratios of one run count: systems alternate within a round.

    tests/bench/bench.py --workload std --rounds 3 --recording node_exporter.prom.zst

Flags for Firn come from the environment: BENCH_FIRN_FLAGS="--memory-limit=256MiB".
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

DASHBOARD = [
    'sum by (mode) (rate(node_cpu_seconds_total[5m]))',
    'sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))',
    'avg by (instance) (1 - rate(node_cpu_seconds_total{mode="idle"}[5m]))',
    'topk(5, sum by (instance) (rate(node_network_receive_bytes_total[5m])))',
    'sum(rate(node_network_transmit_bytes_total{device!="lo"}[5m])) by (instance)',
    'node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes',
    'min by (instance) (node_filesystem_avail_bytes / node_filesystem_size_bytes)',
    'count by (job) (up or node_load1)',
    'count(node_load1 > 0.5)',
    'max_over_time(node_load1[10m])',
    'quantile(0.9, node_load5)',
    'sum by (device) (rate(node_disk_written_bytes_total[5m]))',
    'rate(node_disk_io_time_seconds_total{instance=~"host-00[0-4].*"}[5m])',
    'histogram_quantile(0.99, sum by (le, route) (rate(http_request_duration_seconds_bucket[5m])))',
    'histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket{method="GET"}[5m])))',
    'sum by (route) (rate(http_request_duration_seconds_sum[5m])) / sum by (route) (rate(http_request_duration_seconds_count[5m]))',
    'sum by (code) (increase(http_request_duration_seconds_count[10m]))',
    'sum(rate(http_request_duration_seconds_count{code=~"5.."}[5m])) / sum(rate(http_request_duration_seconds_count[5m]))',
    'irate(node_context_switches_total[5m])',
    'sum({__name__=~"node_network_.*_packets_total"}) by (__name__)',
    'label_replace(node_load1, "host", "$1", "instance", "([^.]+)\\\\..*")',
    'avg_over_time(node_memory_MemFree_bytes[15m])',
    'sum by (instance) (node_scrape_collector_success)',
    'deriv(node_memory_Cached_bytes[15m])',
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_secs(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) * 1024


def get(url, params=None, timeout=120):
    if params:
        url += "?" + urllib.parse.urlencode(params)
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return response.read()


def post(url):
    with urllib.request.urlopen(urllib.request.Request(url, method="POST", data=b""), timeout=300) as response:
        return response.read()


def folder_bytes(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files)


class System:
    """A server in a folder of its own."""

    def __init__(self, name, binary):
        self.name, self.binary = name, binary
        self.dir = tempfile.mkdtemp(prefix=f"bench-{name}-")
        self.data = os.path.join(self.dir, "data")
        self.process = None

    def start(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log, cwd=self.dir)
        for _ in range(600):
            try:
                get(self.url + self.ready)
                return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f"{self.name} ended: see {self.dir}/log")
                time.sleep(0.05)
        raise SystemExit(f"{self.name} never became ready: see {self.dir}/log")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


class Firn(System):
    ready, push, query = "/ready", "/api/v1/push", "/api/v1"

    def command(self):
        return [self.binary, f"-server.http-listen-port={self.port}", f"-storage.url={self.data}/tables",
                f"-storage.wal-dir={self.data}/wal"] + os.environ.get("BENCH_FIRN_FLAGS", "").split()

    def flush(self):
        post(self.url + "/flush")

    def at_rest(self):
        return folder_bytes(self.data + "/tables")

    def over_blocks(self):
        self.stop()
        shutil.rmtree(self.data + "/wal", ignore_errors=True)
        self.start()


class Prometheus(System):
    ready, push, query = "/-/ready", "/api/v1/write", "/api/v1"

    def command(self):
        config = os.path.join(self.dir, "prometheus.yml")
        open(config, "w").write("global: {}\n")
        return [self.binary, f"--config.file={config}", f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
                "--web.enable-admin-api", "--log.level=warn"]

    def flush(self):
        # Writes the head as a block, which is what a flush is.
        post(self.url + "/api/v1/admin/tsdb/snapshot")

    def snapshot(self):
        folder = self.data + "/snapshots"
        return os.path.join(folder, sorted(os.listdir(folder))[-1])

    def at_rest(self):
        return folder_bytes(self.snapshot())

    def over_blocks(self):
        snapshot = self.snapshot()
        self.stop()
        self.data, old = self.dir + "/blocks", self.data
        shutil.move(snapshot, self.data)
        shutil.rmtree(old, ignore_errors=True)
        self.start()


class VictoriaMetrics(System):
    ready, push, query = "/health", "/api/v1/write", "/api/v1"

    def command(self):
        return [self.binary, f"-storageDataPath={self.data}", f"-httpListenAddr=127.0.0.1:{self.port}",
                "-search.disableCache", "-loggerLevel=ERROR"]

    def flush(self):
        get(self.url + "/internal/force_flush")

    def at_rest(self):
        return folder_bytes(self.data)

    def over_blocks(self):
        self.stop()
        self.start()


def load(system, args, end):
    command = [args.loadgen, "metrics", "--url", system.url + system.push, "--workload", args.workload,
               "--pid", str(system.process.pid), "--json", "--end", str(end)]
    if args.recording:
        command += ["--recording", args.recording]
    if args.shuffle:
        command.append("--shuffle")
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def dashboard(system, end, repeat):
    """CPU seconds of one pass over the dashboard, and how many of its queries returned series."""
    def one_pass():
        n = 0
        for expr in DASHBOARD:
            params = {"query": expr, "start": end - 1800, "end": end, "step": 15}
            answer = json.loads(get(system.url + system.query + "/query_range", params))
            n += bool(answer["data"]["result"])
        return n

    answered = one_pass()  # warms caches of files and pages in every system
    before = cpu_secs(system.process.pid)
    for _ in range(repeat):
        one_pass()
    return (cpu_secs(system.process.pid) - before) / repeat, answered


def run(system, args):
    end = int(time.time()) - 60
    system.start()
    try:
        report = load(system, args, end)
        samples, cpu = report["samples"], report["server_cpu_secs_acknowledged"]
        result = {"samples": samples, "refused": report["samples_in_refused_requests"],
                  "acknowledged": samples / cpu, "wall": report["samples_per_sec"]}
        if args.queries:
            result["recent_cpu"], result["answered"] = dashboard(system, end, args.repeat)
        before_flush = cpu_secs(system.process.pid)
        system.flush()
        result["flushed"] = samples / (cpu + cpu_secs(system.process.pid) - before_flush)
        result["peak_rss_mb"] = peak_rss(system.process.pid) / 1e6
        result["bytes_per_sample"] = system.at_rest() / samples
        if args.queries:
            system.over_blocks()
            result["blocks_cpu"], _ = dashboard(system, end, args.repeat)
        return result
    finally:
        system.stop()
        system.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = os.environ.get("FIRN_CACHE", os.path.expanduser("~/.cache/firn"))
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser.add_argument("--firn", default=f"{target}/release/firn")
    parser.add_argument("--loadgen", default=f"{target}/release/firn-loadgen")
    parser.add_argument("--prometheus", default=f"{cache}/parts/bin/prometheus")
    parser.add_argument("--victoria-metrics", default=f"{cache}/parts/bin/victoria-metrics")
    parser.add_argument("--systems", default="firn,prometheus", help="comma separated; victoriametrics is the third")
    parser.add_argument("--workload", default="std", choices=["std", "card", "long"])
    parser.add_argument("--recording")
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=5, help="passes over the dashboard")
    parser.add_argument("--no-queries", dest="queries", action="store_false")
    args = parser.parse_args()
    make = {"firn": lambda: Firn("firn", args.firn),
            "prometheus": lambda: Prometheus("prometheus", args.prometheus),
            "victoriametrics": lambda: VictoriaMetrics("victoriametrics", args.victoria_metrics)}
    names = args.systems.split(",")
    results = {name: [] for name in names}
    for n in range(args.rounds):
        for name in names:
            result = run(make[name](), args)
            results[name].append(result)
            print(f"round {n + 1} {name}: " + " ".join(f"{k}={v:.4g}" for k, v in result.items()), flush=True)
    print("\nmedians, and the first system's ratio to each other one")
    median = {name: {k: statistics.median(r[k] for r in results[name]) for k in results[name][0]} for name in names}
    for key in median[names[0]]:
        row = "  ".join(f"{name} {median[name][key]:.4g}" for name in names)
        ratios = "  ".join(f"x{median[names[0]][key] / median[o][key]:.3g}" for o in names[1:] if median[o][key])
        print(f"{key:<18} {row}   {ratios}")


if __name__ == "__main__":
    main()
