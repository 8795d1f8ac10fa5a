"""What dashboards of node_exporters and HTTP services ask: of each workload its queries, over how many seconds they look
back, and their step in seconds."""

STD = [
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

# Of half a million series at once: few have so many, and some dashboard asks for all of them.
CARD = [
    'count(node_cpu_seconds_total)',
    'sum by (mode) (rate(node_cpu_seconds_total[1m]))',
    'topk(10, sum by (instance) (rate(node_network_receive_bytes_total[1m])))',
    'count by (instance) ({__name__=~"node_(cpu|network|disk)_.*"})',
    'quantile by (device) (0.99, rate(node_disk_io_time_seconds_total[1m]))',
    'sum by (mountpoint) (node_filesystem_avail_bytes) / sum by (mountpoint) (node_filesystem_size_bytes)',
]

# A day on one screen.
LONG = [
    'sum by (mode) (rate(node_cpu_seconds_total[5m]))',
    'avg by (instance) (1 - rate(node_cpu_seconds_total{mode="idle"}[5m]))',
    'node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes',
    'max_over_time(node_load1[1h])',
    'sum by (instance) (increase(node_network_receive_bytes_total[1h]))',
    'quantile_over_time(0.95, node_load5[1h])',
    'topk(3, rate(node_context_switches_total[5m]))',
    'avg_over_time(node_memory_MemFree_bytes[1h])',
    'min by (device) (node_filesystem_avail_bytes / node_filesystem_size_bytes)',
    'deriv(node_memory_Cached_bytes[1h])',
]

SETS = {"std": (STD, 1800, 15), "card": (CARD, 135, 15), "long": (LONG, 86_400, 300), "day": (LONG, 86_400, 300)}
