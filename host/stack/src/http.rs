//! Small requests to servers of this machine: is it there, is it ready?

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A health answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More of an answer is not needed to understand it.
const ANSWER_BYTES: u64 = 64 << 10;

/// Status and text of an answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

/// Asks a port of loopback. Headers are `Name: value`.
pub fn ask(port: u16, method: &str, path: &str, headers: &[String]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    if method == "PUT" {
        head.push_str("Content-Length: 0\r\n");
    }
    headers.iter().for_each(|header| head.extend([header.as_str(), "\r\n"]));
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("what answers does not speak HTTP"))?;
    Ok(Answer { status, text })
}

/// Whether a GET is answered with 200 and a text that holds `wanted`.
pub fn is_well(port: u16, path: &str, wanted: &str) -> bool {
    ask(port, "GET", path, &[]).is_ok_and(|answer| answer.status == 200 && answer.text.contains(wanted))
}
