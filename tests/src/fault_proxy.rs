//! A proxy in front of an object store that delays, refuses, lies and cuts as it is told: HTTP/1.1 over plain sockets.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFault {
    /// It is passed on after this long.
    Delay(Duration),
    /// It is answered with this status and goes no further.
    Status(u16),
    /// It is passed on, and the connection is closed instead of an answer.
    LoseAnswer,
    /// The connection is closed at once.
    Refuse,
    /// Half of the answer's body comes, then the connection is closed.
    CutAnswer,
    /// It is answered with 200 and goes no further: a store that only says that it has done it.
    Pretend,
}

/// Which requests it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyTarget {
    /// All of them.
    All,
    /// Those with this method whose path ends so.
    Of(&'static str, &'static str),
}

/// The proxy. It listens until it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `127.0.0.1:<port>`
    upstream: String,
    plan: Mutex<Plan>,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Plan {
    fault: Option<(ProxyTarget, ProxyFault, usize)>,
    n_faults: usize,
    requests: Vec<String>,
}

/// The head of a message, and how its body is framed.
struct Head {
    first: String,
    lines: Vec<String>,
    length: Option<u64>,
    chunked: bool,
}

impl FaultProxy {
    /// A proxy in front of `http://host:port` that passes everything on.
    pub fn start(upstream: &str) -> io::Result<FaultProxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let upstream = upstream.trim_start_matches("http://").to_string();
        let shared = Arc::new(Shared { upstream, plan: Mutex::default(), stopped: AtomicBool::new(false) });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &of_thread));
        Ok(FaultProxy { address, shared })
    }

    /// `http://127.0.0.1:<port>`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on these requests go wrong so, and no others.
    pub fn fail(&self, target: ProxyTarget, fault: ProxyFault) {
        self.fail_times(target, fault, usize::MAX);
    }

    /// The next so many of these requests go wrong so, and no others.
    pub fn fail_times(&self, target: ProxyTarget, fault: ProxyFault, times: usize) {
        self.shared.plan().fault = Some((target, fault, times));
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.shared.plan().fault = None;
    }

    /// How many requests have gone wrong.
    pub fn n_faults(&self) -> usize {
        self.shared.plan().n_faults
    }

    /// Method and path of the requests since the last call.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.plan().requests)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault_of(&self, request: &str) -> Option<ProxyFault> {
        let mut parts = request.split(' ');
        let (method, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut plan = self.plan();
        plan.requests.push(format!("{method} {path}"));
        let path = path.split('?').next().unwrap_or_default();
        let (target, fault, times) = plan.fault.as_mut()?;
        let is_meant = match target {
            ProxyTarget::All => true,
            ProxyTarget::Of(of_method, suffix) => method == *of_method && path.ends_with(*suffix),
        };
        if !is_meant || *times == 0 {
            return None;
        }
        *times -= 1;
        let fault = *fault;
        plan.n_faults += 1;
        Some(fault)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        let shared = Arc::clone(shared);
        // A connection that breaks is what this is for.
        thread::spawn(move || serve(&client, &shared).ok());
    }
}

fn serve(client: &TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut from_client = BufReader::new(client);
    let mut upstream: Option<BufReader<TcpStream>> = None;
    while let Some(request) = read_head(&mut from_client)? {
        let fault = shared.fault_of(&request.first);
        match fault {
            Some(ProxyFault::Refuse) => return Ok(()),
            Some(ProxyFault::Delay(delay)) => thread::sleep(delay),
            _ => {}
        }
        let body = read_body(&mut from_client, &request)?;
        if let Some(ProxyFault::Status(status)) = fault {
            write!(&*client, "HTTP/1.1 {status} On Purpose\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        if fault == Some(ProxyFault::Pretend) {
            write!(&*client, "HTTP/1.1 200 OK\r\nETag: \"0\"\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let upstream = match &mut upstream {
            Some(known) => known,
            none => none.insert(BufReader::new(TcpStream::connect(&shared.upstream)?)),
        };
        write_head(upstream.get_mut(), &request)?;
        upstream.get_mut().write_all(&body)?;
        let Some(answer) = read_answer(upstream)? else { return Ok(()) };
        let has_no_body = request.first.starts_with("HEAD ")
            || [" 204", " 304"].iter().any(|status| answer.first.contains(status));
        let body = if has_no_body { Vec::new() } else { read_body(upstream, &answer)? };
        match fault {
            Some(ProxyFault::LoseAnswer) => return Ok(()),
            Some(ProxyFault::CutAnswer) => {
                write_head(&mut &*client, &answer)?;
                return (&*client).write_all(&body[..body.len() / 2]);
            }
            _ => {
                write_head(&mut &*client, &answer)?;
                (&*client).write_all(&body)?;
            }
        }
    }
    Ok(())
}

/// The answer, past those that only say that there will be one.
fn read_answer(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    loop {
        match read_head(from)? {
            Some(head) if head.first.contains(" 100 ") => continue,
            other => return Ok(other),
        }
    }
}

fn read_head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head { first: String::new(), lines: Vec::new(), length: None, chunked: false };
    if from.read_line(&mut head.first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim().is_empty() {
            return Ok(Some(head));
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.trim().parse().ok(),
            "transfer-encoding" => head.chunked = value.contains("chunked"),
            // The body is held here as a whole, so nobody needs to wait for leave to send it.
            "expect" => continue,
            _ => {}
        }
        head.lines.push(line);
    }
}

fn write_head(to: &mut impl Write, head: &Head) -> io::Result<()> {
    let text: String = std::iter::once(&head.first).chain(&head.lines).map(String::as_str).collect();
    to.write_all(text.as_bytes())?;
    to.write_all(b"\r\n")
}

/// The body as it came, chunks with their frames.
fn read_body(from: &mut impl BufRead, head: &Head) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if !head.chunked {
        from.take(head.length.unwrap_or(0)).read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        body.extend_from_slice(line.as_bytes());
        let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or("0"), 16).unwrap_or(0);
        from.take(size + 2).read_to_end(&mut body)?;
        if size == 0 {
            return Ok(body);
        }
    }
}
