"""The SDK records, and both exporters can be made."""

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

for exporter in (Grpc(endpoint="http://127.0.0.1:1", insecure=True), Http(endpoint="http://127.0.0.1:1/v1/metrics")):
    exporter.shutdown()
reader = InMemoryMetricReader()
provider = MeterProvider([reader], shutdown_on_exit=False)
provider.get_meter("check").create_counter("n").add(3)
(metrics,) = reader.get_metrics_data().resource_metrics
assert metrics.scope_metrics[0].metrics[0].data.data_points[0].value == 3
