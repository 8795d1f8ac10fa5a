//! OTLP from an OpenTelemetry Collector and from OpenTelemetry's Python SDK. What Prometheus 3.15 makes of the same
//! data with the same translation strategy is the truth.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use system_tests::{Child, FirnOptions, now_ms, part};

use super::sameness::{Mortal, Pair, Window, folder};
use super::servers::{Server, host, serve, start_prometheus, sum};
use super::target::Target;

/// How resources and names become labels and names, in the words of both.
struct Translation {
    strategy: &'static str,
    /// Of Prometheus, under `otlp:`.
    prometheus: &'static str,
    /// The same of Firn's tenants.
    firn: &'static str,
}

const TRANSLATIONS: [Translation; 4] = [
    Translation {
        strategy: "UnderscoreEscapingWithSuffixes",
        prometheus: "promote_resource_attributes: [deployment.environment, flag, host.load]",
        firn: "promote_otel_resource_attributes: 'deployment.environment,flag,host.load'",
    },
    Translation {
        strategy: "UnderscoreEscapingWithoutSuffixes",
        prometheus: "promote_scope_metadata: true",
        firn: "otel_promote_scope_metadata: true",
    },
    Translation {
        strategy: "NoUTF8EscapingWithSuffixes",
        prometheus: "promote_all_resource_attributes: true",
        firn: "promote_all_otel_resource_attributes: true",
    },
    Translation {
        strategy: "NoTranslation",
        prometheus: "keep_identifying_resource_attributes: true",
        firn: "otel_keep_identifying_resource_attributes: true",
    },
];

const SCRAPED: Duration = Duration::from_secs(15);
const SETTLED: Duration = Duration::from_secs(6);

#[test]
fn a_collector_writes_over_grpc_and_http_and_remote_write_and_firn_holds_what_prometheus_receives() {
    let (Some(collector), Some(prometheus)) = (part("bin/otelcol"), part("bin/prometheus")) else { return };
    let mut mortal = Mortal::start(FirnOptions::default());
    let dir = folder(&mortal, "senders");
    let target = Target::start();
    // Both make series of the same names, so each has a Prometheus of its own.
    let otlp = reference("reference-otlp", &prometheus, &dir, "");
    let written = reference("reference-remote-write", &prometheus, &dir, "");
    let written_2 = reference("reference-remote-write-2", &prometheus, &dir, "");
    let begun = now_ms();
    let mut sender = serve("collector", &dir, |port| {
        let file = dir.join("collector.yml");
        let firn = mortal.firn().address();
        let more = [&otlp, &written, &written_2].map(|server| host(&server.url));
        fs::write(&file, collector_config(port, &target.address, firn, &more)).unwrap();
        let mut command = Command::new(&collector);
        command
            .arg("--config")
            .arg(&file)
            .arg("--feature-gates=exporter.prometheusremotewritexporter.enableSendingRW2");
        command
    });
    thread::sleep(SCRAPED);
    let window = Window { from: begun, to: now_ms() };
    thread::sleep(SETTLED);

    let metrics = sender.metrics();
    let sent = sum(&metrics, "otelcol_exporter_sent_metric_points_total")
        + sum(&metrics, "otelcol_exporter_sent_metric_points");
    let failed =
        metrics.lines().filter(|line| line.contains("send_failed_metric_points") && !line.starts_with('#'));
    let failed: Vec<&str> = failed.filter(|line| !line.ends_with(" 0")).collect();
    println!("collector: {sent} points sent over seven exporters");
    assert!(sent > 1000.0 && failed.is_empty(), "{failed:?}\n{}", sender.child.output());
    assert!(!sender.child.output().contains("Partial success"), "{}", sender.child.output());
    sender.child.terminate();

    let pair = |what, reference: &Server, tenant: &str, exemplars| Pair {
        what,
        prometheus: reference.url.clone(),
        tenant: tenant.to_string(),
        exemplars,
    };
    let pairs = [
        pair("collector, OTLP gRPC", &otlp, "grpc", true),
        pair("collector, OTLP HTTP", &otlp, "http", true),
        pair("collector, remote write 1.0", &written, "written", true),
        pair("collector, remote write 2.0", &written_2, "written-2", true),
    ];
    mortal.check_through_its_life(&pairs, window);
}

#[test]
fn the_python_sdk_writes_over_grpc_and_http_in_every_translation_strategy_as_prometheus_has_it() {
    let (Some(python), Some(prometheus)) = (part("otelpy/bin/python"), part("bin/prometheus")) else {
        return;
    };
    let mut mortal = Mortal::configured(&translating_tenants());
    let dir = folder(&mortal, "senders");
    let references: Vec<Server> =
        TRANSLATIONS.iter().map(|t| reference(t.strategy, &prometheus, &dir, &t.of_prometheus())).collect();
    let begun = now_ms();
    // One reader and many exporters: all of them hear the same.
    let mut command = Command::new(python);
    command.arg(script());
    for (Translation { strategy, .. }, reference) in TRANSLATIONS.iter().zip(&references) {
        command.arg(format!("http={}/api/v1/otlp/v1/metrics", reference.url));
        command.arg(format!("http={}/otlp/v1/metrics={strategy}-http", mortal.firn().url()));
        command.arg(format!("grpc={}={strategy}-grpc", mortal.firn().url()));
    }
    let mut sender = Child::start("sdk", command, &dir).unwrap();
    let status = sender.exit_status();
    assert!(status.is_some_and(|status| status.success()), "{}", sender.output());
    println!("{}", sender.output().trim());
    let window = Window { from: begun, to: now_ms() };

    let mut pairs = Vec::new();
    for (Translation { strategy, .. }, reference) in TRANSLATIONS.iter().zip(&references) {
        for way in ["http", "grpc"] {
            let (prometheus, tenant) = (reference.url.clone(), format!("{strategy}-{way}"));
            pairs.push(Pair { what: strategy, prometheus, tenant, exemplars: true });
        }
    }
    mortal.check_through_its_life(&pairs, window);
}

impl Translation {
    fn of_prometheus(&self) -> String {
        format!("translation_strategy: {}, {}", self.strategy, self.prometheus)
    }
}

/// A tenant for each translation and way.
fn translating_tenants() -> String {
    let mut config = "limits:\n  overrides:\n".to_string();
    for Translation { strategy, firn, .. } in TRANSLATIONS {
        for way in ["http", "grpc"] {
            config.push_str(&format!(
                "    {strategy}-{way}: {{otel_translation_strategy: {strategy}, {firn}}}\n"
            ));
        }
    }
    config
}

fn reference(name: &str, binary: &Path, dir: &Path, otlp: &str) -> Server {
    let flags = [
        "--web.enable-remote-write-receiver",
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage,native-histograms",
    ];
    start_prometheus(name, binary, dir, &flags, |_| {
        format!(
            "global: {{}}\nstorage: {{tsdb: {{out_of_order_time_window: 10m}}}}\n\
             otlp: {{{otlp}}}\n"
        )
    })
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/senders/sdk.py")
}

fn collector_config(own: u16, target: &str, firn: &str, prometheus: &[String; 3]) -> String {
    let [otlp, written, written_2] = prometheus;
    let tenant = |name: &str| format!("headers: {{X-Scope-OrgID: {name}}}");
    let insecure = "tls: {insecure: true}";
    let remote_write = |name: &str, url: String, more: &str, version: &str| {
        format!("  prometheusremotewrite/{name}: {{endpoint: '{url}', {more}protobuf_message: {version}}}\n")
    };
    let (one, two) = ("prometheus.WriteRequest", "io.prometheus.write.v2.Request");
    let mut exporters = format!(
        "  otlp/firn: {{endpoint: '{firn}', {insecure}, {}}}\n  \
         otlphttp/firn: {{metrics_endpoint: 'http://{firn}/otlp/v1/metrics', {}}}\n  \
         otlphttp/prometheus: {{metrics_endpoint: 'http://{otlp}/api/v1/otlp/v1/metrics'}}\n",
        tenant("grpc"),
        tenant("http")
    );
    let push = format!("http://{firn}/api/v1/push");
    exporters.push_str(&remote_write("firn", push.clone(), &format!("{}, ", tenant("written")), one));
    exporters.push_str(&remote_write("firn2", push, &format!("{}, ", tenant("written-2")), two));
    exporters.push_str(&remote_write("prometheus", format!("http://{written}/api/v1/write"), "", one));
    exporters.push_str(&remote_write("prometheus2", format!("http://{written_2}/api/v1/write"), "", two));
    format!(
        "receivers:\n  prometheus:\n    config:\n      scrape_configs:\n      \
         - {{job_name: shop, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}\n\
         exporters:\n{exporters}\
         processors: {{batch: {{timeout: 1s}}}}\n\
         service:\n  telemetry:\n    metrics:\n      \
         readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {own}}}}}}}}}]\n  \
         pipelines:\n    metrics:\n      receivers: [prometheus]\n      processors: [batch]\n      \
         exporters: [otlp/firn, otlphttp/firn, otlphttp/prometheus, prometheusremotewrite/firn, \
         prometheusremotewrite/firn2, prometheusremotewrite/prometheus, prometheusremotewrite/prometheus2]\n"
    )
}
