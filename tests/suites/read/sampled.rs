//! Between a Prometheus and Firn: lets it take nothing but samples. Prometheus itself always asks for chunks first.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use prost::Message;
use system_tests::{RawAnswer, send, snappy};
use wire::generated::prometheus_read as pb;

/// The proxy. Its thread ends with the test.
pub(super) struct Sampled {
    url: String,
    n_requests: Arc<AtomicUsize>,
}

impl Sampled {
    pub(super) fn start(firn: &str) -> Sampled {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (n_requests, firn) = (Arc::new(AtomicUsize::new(0)), firn.to_string());
        let counted = Arc::clone(&n_requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (firn, counted) = (firn.clone(), Arc::clone(&counted));
                thread::spawn(move || {
                    if answer(stream, &firn).is_some() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Sampled { url, n_requests }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn n_requests(&self) -> usize {
        self.n_requests.load(Ordering::Relaxed)
    }
}

fn answer(stream: TcpStream, firn: &str) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().ok()?
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = ask(&body, firn);
    let mut stream = reader.into_inner();
    let encoding = answer.header("content-encoding").unwrap_or_default();
    let content_type = answer.header("content-type").unwrap_or_default();
    write!(
        stream,
        "HTTP/1.1 {} -\r\nContent-Type: {content_type}\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        answer.status,
        answer.body.len()
    )
    .ok()?;
    stream.write_all(&answer.body).ok()
}

/// The request again, for samples.
fn ask(body: &[u8], firn: &str) -> RawAnswer {
    let bytes = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let mut request = pb::ReadRequest::decode(&bytes[..]).unwrap();
    assert_eq!(request.accepted_response_types, [1, 0], "Prometheus takes chunks first");
    request.accepted_response_types = vec![0];
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    let answer =
        send("POST", &format!("{firn}/api/v1/read"), &headers, &snappy(&request.encode_to_vec())).unwrap();
    assert_eq!(answer.header("content-type").as_deref(), Some("application/x-protobuf"));
    answer
}
