use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a process that is well may take to say so.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `url`, such as `http://127.0.0.1:9009/ready`, whether the process there is well: for a container that has no
/// other program to ask with.
pub(crate) fn check(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url:?} does not begin with http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "ready"));
    let address = if host.contains(':') { host.to_string() } else { format!("{host}:80") };
    let status = status(&address, host, path).map_err(|e| format!("{url}: {e}"))?;
    if status == "200" { Ok(()) } else { Err(format!("{url} answered {status}")) }
}

fn status(address: &str, host: &str, path: &str) -> Result<String, std::io::Error> {
    let resolved = address.to_socket_addrs()?.next();
    let resolved = resolved.ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let mut connection = TcpStream::connect_timeout(&resolved, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut line = [0; 12];
    connection.read_exact(&mut line)?;
    // `HTTP/1.1 200`
    Ok(String::from_utf8_lossy(&line[9..]).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn answered(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ready", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = connection.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET /ready HTTP/1.1\r\n"));
            connection.write_all(answer.as_bytes()).unwrap();
        });
        let checked = check(&url);
        server.join().unwrap();
        checked
    }

    #[test]
    fn only_a_200_is_well() {
        assert_eq!(answered("HTTP/1.1 200 OK\r\n\r\nready\n"), Ok(()));
        assert!(answered("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().contains("503"));
        assert!(answered("").is_err());
        assert!(check("https://127.0.0.1/ready").is_err());
        assert!(check("http://127.0.0.1:1/ready").is_err());
    }
}
