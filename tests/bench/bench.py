#!/usr/bin/env python3
"""Firn beside Prometheus and VictoriaMetrics, one after the other, on the same load. Python's library only.

Reports server CPU (user + system, from outside the processes) per sample until the last acknowledgement and until
everything is queryable and flushed, peak memory, bytes at rest, and CPU and time of its queries (queries.py) over recent
data and over blocks. The host's speed drifts, so only ratios of one run count: systems alternate within a round.

    tests/bench/bench.py --workload std --rounds 3 --recording node_exporter.prom.zst
    tests/bench/bench.py --systems firn --protocol rw1,rw1-zstd,rw2,otlp-http
    tests/bench/bench.py --systems firn,firn-roles           # one process; each role a process
    tests/bench/bench.py --systems firn --s3                 # tables in a MinIO of its own
    tests/bench/bench.py --systems firn --workload day --targets 8 --services 1 --compact --no-queries

Flags for Firn come from the environment: BENCH_FIRN_FLAGS="-memory-limit=256MiB".
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

from queries import SETS

# Where each system takes each protocol; a pair that is not here is left out.
PUSH = {
    "firn": {"rw1": "/api/v1/push", "rw1-zstd": "/api/v1/push", "rw2": "/api/v1/push", "otlp-grpc": "",
             "otlp-http": "/otlp/v1/metrics", "otlp-json": "/otlp/v1/metrics", "text": "/api/v1/import/prometheus"},
    "prometheus": {"rw1": "/api/v1/write", "rw2": "/api/v1/write",
                   "otlp-http": "/api/v1/otlp/v1/metrics", "otlp-json": "/api/v1/otlp/v1/metrics"},
    "victoriametrics": {"rw1": "/api/v1/write", "rw1-zstd": "/api/v1/write",
                        "otlp-http": "/opentelemetry/v1/metrics", "text": "/api/v1/import/prometheus"},
}
PUSH["firn-roles"] = PUSH["firn"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, params=None, timeout=300):
    if params:
        url += "?" + urllib.parse.urlencode(params)
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return response.read()


def post(url):
    with urllib.request.urlopen(urllib.request.Request(url, method="POST", data=b""), timeout=600) as response:
        return response.read()


def folder_bytes(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files)


class Process:
    """A program that runs, and what it costs."""

    def __init__(self, name, folder, port, command, env=None):
        self.name, self.port, self.url = name, port, f"http://127.0.0.1:{port}"
        self.log_path = os.path.join(folder, f"{name}.log")
        self.log = open(self.log_path, "ab")
        self.child = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=folder,
                                      env={**os.environ, **(env or {})})

    def await_ready(self, path):
        for _ in range(1200):
            try:
                get(self.url + path, timeout=5)
                return
            except OSError:
                if self.child.poll() is not None:
                    raise SystemExit(f"{self.name} ended: see {self.log_path}")
                time.sleep(0.05)
        raise SystemExit(f"{self.name} never became ready: see {self.log_path}")

    def cpu_secs(self):
        with open(f"/proc/{self.child.pid}/stat") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss(self):
        with open(f"/proc/{self.child.pid}/status") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) * 1024

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()


class System:
    """Servers in a folder of their own."""

    def __init__(self, args, binary):
        self.args, self.binary = args, binary
        self.dir = tempfile.mkdtemp(prefix="bench-")
        self.data = os.path.join(self.dir, "data")
        self.processes = []

    def start(self):
        port = free_port()
        self.processes = [Process("server", self.dir, port, self.command(port))]
        self.processes[0].await_ready(self.ready)
        self.push_url = self.query_url = self.processes[0].url

    def stop(self):
        for process in reversed(self.processes):
            process.stop()
        self.processes = []

    def remove(self):
        if not self.args.keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    def settle(self):
        """Until queries see all that was acknowledged: at once, mostly."""

    def cpu_secs(self):
        return sum(process.cpu_secs() for process in self.processes)

    def peaks(self):
        return {process.name: process.peak_rss() for process in self.processes}

    def at_rest(self):
        return folder_bytes(self.data)


class Firn(System):
    ready = "/ready"

    def __init__(self, args, binary):
        super().__init__(args, binary)
        self.store = Store(self.dir, args.minio) if args.s3 else None

    def storage(self):
        return self.store.flags() if self.store else [f"-storage.url={self.data}/tables"]

    def own_flags(self):
        return os.environ.get("BENCH_FIRN_FLAGS", "").split()

    def command(self, port):
        return [self.binary, f"-server.http-listen-port={port}", f"-storage.wal-dir={self.data}/wal",
                *self.storage(), *self.own_flags()]

    def flush(self):
        post(self.processes[0].url + "/flush")

    def at_rest(self):
        return self.store.at_rest() if self.store else folder_bytes(self.data + "/tables")

    def over_blocks(self):
        self.stop()
        for name in os.listdir(self.data) if os.path.isdir(self.data) else []:
            if name.endswith("wal"):
                shutil.rmtree(os.path.join(self.data, name))
        self.start()

    def remove(self):
        if self.store:
            self.store.stop()
        super().remove()

    def compact(self):
        """Bytes that the table still needs, and the peak memory of a compactor that has nothing else to do."""
        if self.store:
            raise SystemExit("--compact measures tables in a folder")
        self.stop()
        ports = {role: free_port() for role in ["ingester", "compactor"]}
        flags = {"ingester": ["-cluster.instance=ingester-0"],
                 "compactor": ["-compactor.interval=1s", "-compactor.day-grace=0s", "-compactor.settle=0s",
                               "-compactor.final-after=0s", "-compactor.open-day-files=2",
                               *self.args.compactor_flags.split()]}
        # A compactor tells ingesters of what it changed, so it wants one.
        members = f"-cluster.members=[\"ingester-0=127.0.0.1:{ports['ingester']}\"]"
        for role, port in ports.items():
            command = [self.binary, f"-target={role}", f"-server.http-listen-port={port}", members,
                       f"-storage.wal-dir={self.data}/{role}-wal", *self.storage(), *flags[role]]
            self.processes.append(Process(role, self.dir, port, command))
        for process in self.processes:
            process.await_ready(self.ready)
        compactor = self.processes[-1]
        # Done when nothing changes and nothing is computed any more.
        files, quiet, started, cpu = None, 0, time.monotonic(), 0
        while quiet < 5 and time.monotonic() - started < self.args.compact_secs:
            time.sleep(1)
            was, files, cpu_was, cpu = files, live_files(self.data + "/tables"), cpu, compactor.cpu_secs()
            quiet = quiet + 1 if files == was and cpu - cpu_was < 0.1 else 0
        sizes = list(files.values())
        return {"compacted_bytes": sum(sizes), "compacted_files": len(sizes),
                "compactor_cpu": compactor.cpu_secs(), "compactor_peak_mb": compactor.peak_rss() / 1e6}


class FirnRoles(Firn):
    """Each role in a process of its own."""

    def start(self):
        os.makedirs(self.data, exist_ok=True)
        roles = ["ingester", "querier", "query-frontend", "distributor"]
        ports = {role: free_port() for role in roles}
        config = os.path.join(self.dir, "firn.yaml")
        with open(config, "w") as f:
            f.write(f"cluster:\n  members: ['ingester-0=127.0.0.1:{ports['ingester']}']\n"
                    f"querier:\n  frontend_addresses: ['127.0.0.1:{ports['query-frontend']}']\n")
        for role in roles:
            command = [self.binary, f"-config.file={config}", f"-target={role}",
                       f"-server.http-listen-port={ports[role]}", f"-storage.wal-dir={self.data}/{role}-wal",
                       *self.storage(), *self.own_flags()]
            if role == "ingester":
                command.append("-cluster.instance=ingester-0")
            self.processes.append(Process(role, self.dir, ports[role], command))
        for process in self.processes:
            process.await_ready(self.ready)
        by_role = {process.name: process.url for process in self.processes}
        self.push_url, self.query_url = by_role["distributor"], by_role["query-frontend"]


class Store:
    """A MinIO with one bucket."""

    KEY, SECRET, BUCKET = "firn-access", "firn-secret-key", "firn-bench"

    def __init__(self, folder, binary):
        self.data = os.path.join(folder, "minio")
        os.makedirs(os.path.join(self.data, self.BUCKET))
        port = free_port()
        command = [binary, "server", "--quiet", "--address", f"127.0.0.1:{port}", self.data]
        env = {"MINIO_ROOT_USER": self.KEY, "MINIO_ROOT_PASSWORD": self.SECRET, "MINIO_BROWSER": "off"}
        self.process = Process("minio", folder, port, command, env)
        self.process.await_ready("/minio/health/ready")

    def flags(self):
        return [f"-storage.url=s3://{self.BUCKET}/bench", f"-storage.s3.endpoint={self.process.url}",
                "-storage.s3.region=us-east-1", f"-storage.s3.access-key-id={self.KEY}",
                f"-storage.s3.secret-access-key={self.SECRET}", "-storage.s3.insecure=true"]

    def at_rest(self):
        return folder_bytes(os.path.join(self.data, self.BUCKET))  # with MinIO's own few hundred bytes an object

    def stop(self):
        self.process.stop()


class Prometheus(System):
    ready = "/-/ready"

    def command(self, port):
        config = os.path.join(self.dir, "prometheus.yml")
        with open(config, "w") as f:
            # A day that is pushed within seconds is not in order: not of one connection beside another.
            is_day = self.args.workload in ("long", "day")
            f.write("storage: {tsdb: {out_of_order_time_window: 25h}}\n" if is_day else "global: {}\n")
        return [self.binary, f"--config.file={config}", f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
                "--web.enable-otlp-receiver", "--web.enable-admin-api", "--log.level=warn"]

    def flush(self):
        # Writes the head as a block, which is what a flush is.
        post(self.push_url + "/api/v1/admin/tsdb/snapshot")

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
    ready = "/health"

    def command(self, port):
        return [self.binary, f"-storageDataPath={self.data}", f"-httpListenAddr=127.0.0.1:{port}",
                "-search.disableCache", "-loggerLevel=ERROR"]

    def settle(self):
        get(self.push_url + "/internal/force_flush")

    def flush(self):
        # A snapshot writes what is only in memory; the flush makes it visible first.
        self.settle()
        get(self.push_url + "/snapshot/create")

    def at_rest(self):
        # Snapshots are links to the same files.
        return folder_bytes(self.data + "/data")

    def over_blocks(self):
        self.stop()
        self.start()


def live_files(tables):
    """Path and size of every file that the newest versions of all tables have, by their logs."""
    live = {}
    for folder, _, files in os.walk(tables):
        if not folder.endswith("_delta_log"):
            continue
        for name in sorted(name for name in files if re.fullmatch(r"\d{20}\.json", name)):
            with open(os.path.join(folder, name)) as f:
                actions = [json.loads(line) for line in f if line.strip()]
            for action in actions:
                if "remove" in action:
                    live.pop((folder, action["remove"]["path"]), None)
            for action in actions:
                if "add" in action:
                    live[(folder, action["add"]["path"])] = action["add"]["size"]
    return live


def load(system, push, protocol, args, end):
    command = [args.loadgen, "metrics", "--protocol", protocol, "--url", system.push_url + push,
               "--workload", args.workload, "--histograms", args.histograms, "--json", "--end", str(end)]
    for option in ["recording", "targets", "services", "samples", "exemplars"]:
        if getattr(args, option) is not None:
            command += [f"--{option}", str(getattr(args, option))]
    if args.shuffle:
        command.append("--shuffle")
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def ask(system, workload, end, repeat):
    """CPU seconds and milliseconds of one pass over the workload's queries; how many of them returned series."""
    queries, span, step = SETS[workload]

    def one_pass():
        n = 0
        for expr in queries:
            params = {"query": expr, "start": end - span, "end": end, "step": step}
            answer = json.loads(get(system.query_url + "/api/v1/query_range", params))
            n += bool(answer["data"]["result"])
        return n

    answered = one_pass()  # warms caches of files and pages in every system
    before, times = system.cpu_secs(), []
    for _ in range(repeat):
        started = time.monotonic()
        one_pass()
        times.append(time.monotonic() - started)
    return (system.cpu_secs() - before) / repeat, statistics.median(times) * 1000, answered


def run(system, push, protocol, args):
    end = int(time.time()) - 60
    try:
        system.start()
        before = system.cpu_secs()
        report = load(system, push, protocol, args, end)
        samples, cpu = report["samples"], system.cpu_secs() - before
        lost = report["samples_in_refused_requests"] + report.get("data_points_rejected", 0)
        result = {"samples": samples, "refused": lost, "retries": report["retries"],
                  "acknowledged": samples / cpu, "wall": report["samples_per_sec"]}
        if args.queries:
            system.settle()
            result["recent_cpu"], result["recent_ms"], result["answered"] = ask(system, args.workload, end, args.repeat)
        before_flush = system.cpu_secs()
        system.flush()
        result["flushed"] = samples / (cpu + system.cpu_secs() - before_flush)
        peaks = system.peaks()
        result["peak_rss_mb"] = sum(peaks.values()) / 1e6
        if len(peaks) > 1:
            result.update({f"peak_rss_mb_{name}": peak / 1e6 for name, peak in peaks.items()})
        result["bytes_per_sample"] = system.at_rest() / samples
        if args.queries:
            system.over_blocks()
            result["blocks_cpu"], result["blocks_ms"], _ = ask(system, args.workload, end, args.repeat)
        if args.compact and isinstance(system, Firn):
            result.update(system.compact())
            result["bytes_per_sample_compacted"] = result.pop("compacted_bytes") / samples
        return result
    finally:
        system.stop()
        system.remove()


# Key, heading, and how it is written.
COLUMNS = [
    ("acknowledged", "samples/CPU-s, acknowledged", "{:,.0f}"), ("flushed", "samples/CPU-s, flushed", "{:,.0f}"),
    ("wall", "samples/s", "{:,.0f}"), ("peak_rss_mb", "peak RSS, MB", "{:.0f}"),
    ("bytes_per_sample", "bytes/sample", "{:.3f}"), ("bytes_per_sample_compacted", "compacted", "{:.3f}"),
    ("compactor_peak_mb", "compactor peak, MB", "{:.0f}"), ("recent_cpu", "queries of recent data, CPU s", "{:.3f}"),
    ("recent_ms", "recent, ms", "{:.0f}"), ("blocks_cpu", "of blocks, CPU s", "{:.3f}"),
    ("blocks_ms", "blocks, ms", "{:.0f}"), ("refused", "refused", "{:,.0f}"),
]


def table(results):
    """Medians in Markdown, with each figure's ratio to the first row's in brackets."""
    medians = {}
    for who, rounds in results.items():
        medians[who] = {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}
    first = next(iter(medians.values()))
    columns = [column for column in COLUMNS if any(column[0] in median for median in medians.values())]
    lines = ["| | " + " | ".join(heading for _, heading, _ in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for who, median in medians.items():
        cells = []
        for key, _, form in columns:
            cell = form.format(median[key]) if key in median else ""
            if key in median and first.get(key) and median is not first:
                cell += f" (×{median[key] / first[key]:.2f})"
            cells.append(cell)
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = os.environ.get("FIRN_CACHE", os.path.expanduser("~/.cache/firn"))
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser.add_argument("--firn", default=f"{target}/release/firn")
    parser.add_argument("--loadgen", default=f"{target}/release/firn-loadgen")
    parser.add_argument("--prometheus", default=f"{cache}/parts/bin/prometheus")
    parser.add_argument("--victoria-metrics", default=f"{cache}/parts/bin/victoria-metrics")
    parser.add_argument("--minio", default=f"{cache}/parts/bin/minio")
    parser.add_argument("--systems", default="firn,prometheus,victoriametrics",
                        help="comma separated, of: " + ", ".join(PUSH))
    parser.add_argument("--protocol", default="rw1", help="comma separated")
    parser.add_argument("--workload", default="std", choices=["std", "card", "long", "day"])
    parser.add_argument("--recording")
    parser.add_argument("--targets", type=int, help="node_exporters, to scale a workload")
    parser.add_argument("--services", type=int, help="HTTP services, to scale a workload")
    parser.add_argument("--samples", type=int, help="of each series, to scale a workload")
    parser.add_argument("--histograms", default="classic", choices=["classic", "native", "both"])
    parser.add_argument("--exemplars", type=float, help="share of samples that have one")
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--s3", action="store_true", help="Firn's tables lie in a MinIO, whose CPU is not counted")
    parser.add_argument("--compact", action="store_true", help="let a compactor finish, and measure it (Firn)")
    parser.add_argument("--compact-secs", type=int, default=1800, help="for at most so long")
    parser.add_argument("--compactor-flags", default="-memory-limit=256MiB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=20, help="passes over the queries")
    parser.add_argument("--no-queries", dest="queries", action="store_false")
    parser.add_argument("--keep", action="store_true", help="leave the folders there")
    return parser.parse_args()


def main():
    args = arguments()
    make = {"firn": lambda: Firn(args, args.firn), "firn-roles": lambda: FirnRoles(args, args.firn),
            "prometheus": lambda: Prometheus(args, args.prometheus),
            "victoriametrics": lambda: VictoriaMetrics(args, args.victoria_metrics)}
    pairs = []
    for name in args.systems.split(","):
        for protocol in args.protocol.split(","):
            if protocol in PUSH[name]:
                pairs.append((name, protocol))
            else:
                print(f"{name} does not take {protocol}: left out")
    results = {f"{name}, {protocol}": [] for name, protocol in pairs}
    for n in range(args.rounds):
        for name, protocol in pairs:
            result = run(make[name](), PUSH[name][protocol], protocol, args)
            results[f"{name}, {protocol}"].append(result)
            figures = " ".join(f"{k}={v:.4g}" for k, v in result.items())
            print(f"round {n + 1} {name}, {protocol}: {figures}", flush=True)
    print(f"\nMedians of {args.rounds} rounds of {args.workload}; in brackets, the ratio to the first row.\n")
    print(table(results))


if __name__ == "__main__":
    main()
