use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use wire::Pushed;

use crate::body::{Content, Sender, Version};
use crate::intake::Counts;

/// What the distributor tells about itself. Counted once per request, never per sample.
#[derive(Debug)]
pub(crate) struct Metrics {
    remote_write: Counter,
    remote_write_zstd: Counter,
    remote_write2: Counter,
    otlp_protobuf: Counter,
    otlp_json: Counter,
    otlp_grpc: Counter,
    text: Counter,
    floats: Counter,
    histograms: Counter,
    exemplars: Counter,
    metadata: Counter,
    exemplars_dropped: Counter,
    metadata_dropped: Counter,
    left_out: Counter,
    deduplicated: Counter,
    refused_samples: Family<Reason, Counter>,
    refused_requests: Family<Reason, Counter>,
    compressed: Counter,
    decompressed: Counter,
    decode_seconds: Histogram,
    unexpected: Counter,
    learned: Counter,
    memo_bytes: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Protocol {
    protocol: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Form {
    form: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The protocols that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    RemoteWrite,
    RemoteWriteZstd,
    RemoteWrite2,
    OtlpProtobuf,
    OtlpJson,
    OtlpGrpc,
    Text,
}

impl Via {
    /// The protocol of a remote write request.
    pub(crate) fn of(content: Content) -> Via {
        match content {
            Content { version: Version::Two, .. } => Via::RemoteWrite2,
            Content { sender: Sender::VmagentZstd, .. } => Via::RemoteWriteZstd,
            _ => Via::RemoteWrite,
        }
    }
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let registry = registry.sub_registry_with_prefix("distributor");
        let requests: Family<Protocol, Counter> = Family::default();
        let received: Family<Kind, Counter> = Family::default();
        let dropped: Family<Kind, Counter> = Family::default();
        let body_bytes: Family<Form, Counter> = Family::default();
        // From a small body to one of 32 MiB.
        let decode_seconds = Histogram::new([0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5]);
        let protocol = |protocol| requests.get_or_create(&Protocol { protocol }).clone();
        let kind = |family: &Family<Kind, Counter>, kind| family.get_or_create(&Kind { kind }).clone();
        let form = |form| body_bytes.get_or_create(&Form { form }).clone();
        let metrics = Metrics {
            remote_write: protocol("remote_write_1"),
            remote_write_zstd: protocol("remote_write_1_zstd"),
            remote_write2: protocol("remote_write_2"),
            otlp_protobuf: protocol("otlp_http_protobuf"),
            otlp_json: protocol("otlp_http_json"),
            otlp_grpc: protocol("otlp_grpc"),
            text: protocol("text"),
            floats: kind(&received, "float"),
            histograms: kind(&received, "histogram"),
            exemplars: kind(&received, "exemplar"),
            metadata: kind(&received, "metadata"),
            exemplars_dropped: kind(&dropped, "exemplar"),
            metadata_dropped: kind(&dropped, "metadata"),
            left_out: Counter::default(),
            deduplicated: Counter::default(),
            refused_samples: Family::default(),
            refused_requests: Family::default(),
            compressed: form("compressed"),
            decompressed: form("decompressed"),
            decode_seconds,
            unexpected: Counter::default(),
            learned: Counter::default(),
            memo_bytes: Gauge::default(),
        };
        registry.register("requests", "Write requests, by protocol", requests);
        registry.register("received", "Samples, exemplars and metadata received, by kind", received);
        registry.register("dropped", "Exemplars and metadata left out since they break a rule", dropped);
        let help = "Samples of series that relabelling leaves out";
        registry.register("relabelled_away", help, metrics.left_out.clone());
        let help = "Samples of replicas that are not elected";
        registry.register("deduplicated", help, metrics.deduplicated.clone());
        registry.register("refused_samples", "Samples refused, by reason", metrics.refused_samples.clone());
        registry.register("refused_requests", "Requests refused whole", metrics.refused_requests.clone());
        registry.register("body_bytes", "Bytes of request bodies", body_bytes);
        registry.register("decode_seconds", "Time to decompress and decode", metrics.decode_seconds.clone());
        let unexpected = "Series that were not the expected next one of their sender";
        registry.register("series_looked_up", unexpected, metrics.unexpected.clone());
        let learned = "Series whose labels had to be validated";
        registry.register("series_validated", learned, metrics.learned.clone());
        registry.register("memo_bytes", "Memory of known label runs", metrics.memo_bytes.clone());
        metrics
    }

    pub(crate) fn arrived(&self, via: Via, compressed: usize) {
        match via {
            Via::RemoteWrite => &self.remote_write,
            Via::RemoteWriteZstd => &self.remote_write_zstd,
            Via::RemoteWrite2 => &self.remote_write2,
            Via::OtlpProtobuf => &self.otlp_protobuf,
            Via::OtlpJson => &self.otlp_json,
            Via::OtlpGrpc => &self.otlp_grpc,
            Via::Text => &self.text,
        }
        .inc();
        self.compressed.inc_by(compressed as u64);
    }

    pub(crate) fn decoded(&self, decompressed: usize, seconds: f64, counts: &Counts, memo_bytes: usize) {
        self.decompressed.inc_by(decompressed as u64);
        self.decode_seconds.observe(seconds);
        for (counter, n) in [
            (&self.floats, counts.floats),
            (&self.histograms, counts.histograms),
            (&self.exemplars, counts.exemplars),
            (&self.metadata, counts.metadata),
            (&self.exemplars_dropped, counts.exemplars_dropped),
            (&self.metadata_dropped, counts.metadata_dropped),
            (&self.unexpected, counts.unexpected),
            (&self.learned, counts.learned),
            (&self.left_out, counts.left_out_floats + counts.left_out_histograms),
        ] {
            if n > 0 {
                counter.inc_by(n);
            }
        }
        self.memo_bytes.set(memo_bytes as i64);
    }

    pub(crate) fn deduplicated(&self, counts: &Counts) {
        self.deduplicated.inc_by(counts.floats + counts.histograms);
    }

    pub(crate) fn refused_samples(&self, pushed: &Pushed) {
        for refusal in &pushed.refused {
            let reason = Reason { reason: refusal.reason.as_str() };
            self.refused_samples.get_or_create(&reason).inc_by(refusal.n_samples as u64);
        }
    }

    pub(crate) fn refused_lines(&self, n: usize) {
        self.refused_samples.get_or_create(&Reason { reason: "unreadable_line" }).inc_by(n as u64);
    }

    pub(crate) fn refused_request(&self, reason: &'static str) {
        self.refused_requests.get_or_create(&Reason { reason }).inc();
    }
}
