//! The few lines of HTTP a test needs: one GET, read to its end.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::wait::patience;

/// No answer of the observer may take longer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Status code and body of `GET path` on the loopback.
pub fn get(port: u16, path: &str) -> io::Result<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let timeout = patience(TIMEOUT);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    // HTTP/1.0: the body ends with the connection, never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    parse(&response).ok_or_else(|| io::Error::other(format!("no HTTP response: {response:?}")))
}

fn parse(response: &str) -> Option<(u16, String)> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_its_status_and_its_body() {
        assert_eq!(
            parse("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
            Some((200, "hi".to_owned()))
        );
        assert_eq!(
            parse("HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            Some((503, String::new()))
        );
        assert_eq!(parse("SSH-2.0-OpenSSH"), None);
    }
}
