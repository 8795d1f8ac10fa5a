"""Every instrument of OpenTelemetry's SDK, exported three times to many places: sdk.py KIND=URL[=TENANT]...

KIND is grpc or http. One reader collects, so every place is sent the same points with the same times.
"""

import sys
import time

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

EXPORTS = 3


class Tee(MetricExporter):
    """Sends what it is given to all exporters, and counts how often that went well."""

    def __init__(self, exporters):
        super().__init__()
        self.exporters, self.succeeded, self.failed = exporters, 0, 0

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        for exporter in self.exporters:
            if exporter.export(metrics_data, timeout_millis) is MetricExportResult.SUCCESS:
                self.succeeded += 1
            else:
                self.failed += 1
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        for exporter in self.exporters:
            exporter.shutdown()


def exporter(place):
    kind, url, *tenant = place.split("=")
    headers = {"x-scope-orgid": tenant[0]} if tenant else {}
    if kind == "grpc":
        return Grpc(endpoint=url, insecure=True, headers=tuple(headers.items()))
    return Http(endpoint=url, headers=headers)


def main():
    tee = Tee([exporter(place) for place in sys.argv[1:]])
    reader = PeriodicExportingMetricReader(tee, export_interval_millis=float("inf"))
    resource = Resource.create({
        "service.name": "shop", "service.namespace": "market", "service.instance.id": "i-1",
        "deployment.environment": "test", "host.cpu.count": 4, "host.load": 0.5, "flag": True,
        "tags": ["a", "b"], "größe.der.ware": "µ",
    })
    exponential = View(instrument_name="*.exponential", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], resource, exemplar_filter=AlwaysOnExemplarFilter(), views=[exponential],
                             shutdown_on_exit=False)
    meter = provider.get_meter("shop.meter", "1.2.3", attributes={"scope.attribute": "x"})
    tracer = TracerProvider(resource=resource).get_tracer("shop")

    requests = meter.create_counter("http.requests", "{request}", "Requests.")
    received = meter.create_counter("received.total", "By", "Ends with total already.")
    queue = meter.create_up_down_counter("queue.length", "1", "May fall.")
    speed = meter.create_gauge("fan-speed", "m/s", "A gauge.")
    latency = meter.create_histogram("request.duration", "ms", "Explicit bounds.")
    size = meter.create_histogram("payload.exponential", "KiBy", "Exponential.")
    meter.create_observable_gauge("temperature", [lambda _: [Observation(21.5, {"room": "hall"})]], "Cel")
    meter.create_observable_counter("cpu.time", [lambda _: [Observation(time.process_time(), {"cpu": 0})]], "s")
    meter.create_observable_up_down_counter("ratio.free", [lambda _: [Observation(-0.25)]], "%")
    for n in range(EXPORTS):
        with tracer.start_as_current_span("work"):
            for i in range(20):
                route = {"http.route": f"/r{i % 3}", "http.status_code": 200, "cached": i % 2 == 0}
                requests.add(i + 1, route)
                latency.record(i * 37 % 900, route)
                size.record((i - 3) * 1.7 if i > 3 else 0, {"kind": "json"})
            received.add(100 * (n + 1))
            queue.add(5 if n % 2 == 0 else -7, {"queue": "main"})
            speed.set(1e300 if n == 1 else 3.5 * n, {"1starts.with.digit": "yes", "__under": "score"})
        provider.force_flush()
        time.sleep(1.1)
    print(f"{tee.succeeded} exports succeeded, {tee.failed} failed")
    provider.shutdown()
    sys.exit(0 if tee.failed == 0 and tee.succeeded >= EXPORTS * len(tee.exporters) else 1)


main()
