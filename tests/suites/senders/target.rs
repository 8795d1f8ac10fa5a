//! A target whose metrics have everything that OpenMetrics can say: exemplars, created timestamps, units, resets,
//! series that come and go, numbers that are none, names in UTF-8.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use system_tests::now_ms;

/// Serves `/metrics` until it is dropped.
pub(super) struct Target {
    pub(super) address: String,
    stopped: Arc<AtomicBool>,
}

/// After so many seconds the counters begin anew.
const RESET_SECS: i64 = 10;

impl Target {
    pub(super) fn start() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stopped = Arc::new(AtomicBool::new(false));
        let (until, born) = (stopped.clone(), now_ms());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                thread::spawn(move || answer(stream, born));
            }
        });
        Target { address, stopped }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(&self.address);
    }
}

/// One request per connection.
fn answer(mut stream: TcpStream, born: i64) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut utf8 = false;
    for line in BufReader::new(stream.try_clone().ok()?).lines() {
        let line = line.ok()?;
        utf8 |= line.contains("escaping=allow-utf-8");
        if line.is_empty() {
            break;
        }
    }
    let body = exposition(born, now_ms(), utf8);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()
}

/// What is said in the n-th second; everybody who asks in the same second hears the same.
fn exposition(born: i64, now: i64, utf8: bool) -> String {
    let n = (now - born) / 1000;
    let since_reset = n % RESET_SECS;
    let (second, created) = (born / 1000 + n, born / 1000 + n - since_reset);
    let mut out = String::from("# HELP shop_requests Requests, by route.\n# TYPE shop_requests counter\n");
    for (route, step) in [("/", 3), ("/cart", 7)] {
        let trace = format!("{:032x}", n * step);
        let total = since_reset * step + 1;
        let _ = writeln!(
            out,
            "shop_requests_total{{route=\"{route}\"}} {total} # {{trace_id=\"{trace}\"}} 1.0 {second}.5\n\
             shop_requests_created{{route=\"{route}\"}} {created}"
        );
    }
    latencies(&mut out, since_reset, second, created);
    let wave = (n as f64 / 3.0).sin();
    let _ = write!(
        out,
        "# HELP shop_temperature_celsius Numbers of every sort.\n# TYPE shop_temperature_celsius gauge\n\
         # UNIT shop_temperature_celsius celsius\nshop_temperature_celsius{{place=\"hall\"}} {wave}\n\
         shop_temperature_celsius{{place=\"nowhere\"}} NaN\nshop_temperature_celsius{{place=\"sun\"}} +Inf\n\
         shop_temperature_celsius{{place=\"void\"}} -Inf\nshop_temperature_celsius{{place=\"atom\"}} 4.9e-324\n"
    );
    if n % 6 < 3 {
        let _ = writeln!(out, "shop_temperature_celsius{{place=\"sometimes\"}} {n}");
    }
    let _ = write!(
        out,
        "# TYPE shop_build info\nshop_build_info{{version=\"1.0 \\\"beta\\\"\"}} 1\n\
         # TYPE shop_door stateset\nshop_door{{shop_door=\"open\"}} {0}\nshop_door{{shop_door=\"closed\"}} {1}\n\
         # TYPE shop_guess unknown\nshop_guess 42\n\
         # HELP shop_parcel_bytes Sizes.\n# TYPE shop_parcel_bytes summary\n# UNIT shop_parcel_bytes bytes\n\
         shop_parcel_bytes{{quantile=\"0.5\"}} {2}\nshop_parcel_bytes_count {3}\nshop_parcel_bytes_sum {4}\n\
         shop_parcel_bytes_created {created}\n",
        n % 2,
        1 - n % 2,
        100 + n % 5,
        since_reset * 2,
        since_reset * 210
    );
    if utf8 {
        out.push_str("# TYPE \"shop.größe\" gauge\n{\"shop.größe\",\"ware.name\"=\"Käse\"} 1.5\n");
    }
    out + "# EOF\n"
}

/// A classic histogram with an exemplar in each bucket that grew.
fn latencies(out: &mut String, since_reset: i64, second: i64, created: i64) {
    out.push_str("# HELP shop_latency_seconds How long it takes.\n# TYPE shop_latency_seconds histogram\n");
    out.push_str("# UNIT shop_latency_seconds seconds\n");
    for (i, (bound, per_second)) in [("0.1", 1), ("1.0", 4), ("+Inf", 5)].into_iter().enumerate() {
        let trace = format!("{:032x}", second * 10 + i as i64);
        let observed = [0.05, 0.5, 5.0][i];
        let _ = writeln!(
            out,
            "shop_latency_seconds_bucket{{le=\"{bound}\"}} {} # {{trace_id=\"{trace}\"}} {observed} {second}.25",
            since_reset * per_second
        );
    }
    let _ = write!(
        out,
        "shop_latency_seconds_count {}\nshop_latency_seconds_sum {}\nshop_latency_seconds_created {created}\n",
        since_reset * 5,
        since_reset as f64 * 7.05
    );
}
