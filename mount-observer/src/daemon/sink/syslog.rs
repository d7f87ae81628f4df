//! Syslog: a socket of this machine, UDP, or TCP with counted octets.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    time::Duration,
};

use super::{Deliver, Failure};
use crate::{
    config::{self, Facility},
    notify::Notice,
    render::syslog::{BYTES_MAX, UDP_BYTES_MAX, messages},
};

/// A receiver of syslog.
#[derive(Debug)]
pub(super) struct Syslog {
    to: To,
    facility: Facility,
    timeout: Duration,
}

#[derive(Debug)]
enum To {
    Socket(String),
    Udp(String),
    Tcp(String),
}

impl Syslog {
    pub(super) fn new(config: &config::Syslog) -> Self {
        let address = config.address.as_str();
        let to = if let Some(udp) = address.strip_prefix("udp://") {
            To::Udp(udp.to_owned())
        } else if let Some(tcp) = address.strip_prefix("tcp://") {
            To::Tcp(tcp.to_owned())
        } else {
            To::Socket(address.to_owned())
        };
        Self {
            to,
            facility: config.facility,
            timeout: config.timeout,
        }
    }
}

impl Deliver for Syslog {
    fn deliver(&mut self, notice: &Notice) -> Result<(), Failure> {
        let bytes_max = if matches!(self.to, To::Udp(_)) {
            UDP_BYTES_MAX
        } else {
            BYTES_MAX
        };
        let messages = messages(notice, self.facility, std::process::id(), bytes_max);
        let sent = match &self.to {
            To::Socket(path) => local(path, &messages, self.timeout),
            To::Udp(address) => udp(address, &messages, self.timeout),
            To::Tcp(address) => tcp(address, &messages, self.timeout),
        };
        sent.map_err(|error| Failure::Retry(error.to_string()))
    }
}

/// `/dev/log` is a datagram socket nearly everywhere; where it is a stream, a zero byte ends each
/// message (as syslog(3) of glibc has it).
fn local(path: &str, messages: &[String], timeout: Duration) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(timeout))?;
    match socket.connect(path) {
        Ok(()) => messages
            .iter()
            .try_for_each(|message| socket.send(message.as_bytes()).map(drop)),
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            let mut stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(timeout))?;
            messages
                .iter()
                .try_for_each(|message| stream.write_all(format!("{message}\0").as_bytes()))
        }
        Err(error) => Err(error),
    }
}

/// A receiver that is not there is noticed on its own machine only: UDP promises nothing.
fn udp(address: impl ToSocketAddrs, messages: &[String], timeout: Duration) -> io::Result<()> {
    each(address, |to| udp_to(to, messages, timeout))
}

fn udp_to(to: SocketAddr, messages: &[String], timeout: Duration) -> io::Result<()> {
    let from: SocketAddr = if to.is_ipv6() {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        ([0, 0, 0, 0], 0).into()
    };
    let socket = UdpSocket::bind(from)?;
    socket.set_write_timeout(Some(timeout))?;
    socket.connect(to)?;
    messages
        .iter()
        .try_for_each(|message| socket.send(message.as_bytes()).map(drop))
}

/// RFC 6587, 3.4.1, on a connection of its own: its end says that the receiver has read everything,
/// which a write does not.
fn tcp(address: impl ToSocketAddrs, messages: &[String], timeout: Duration) -> io::Result<()> {
    let mut stream = each(address, |to| TcpStream::connect_timeout(&to, timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_read_timeout(Some(timeout))?;
    for message in messages {
        stream.write_all(format!("{} {message}", message.len()).as_bytes())?;
    }
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0; 64]) {
        Ok(_) => Ok(()),
        // It keeps its end open, and has not refused.
        Err(error) if is_timeout(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::WouldBlock || kind == io::ErrorKind::TimedOut
}

/// Tries each address of a name until one does; the error is the last's.
fn each<T>(
    name: impl ToSocketAddrs,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut result = Err(io::Error::other("the name has no address"));
    for address in name.to_socket_addrs()? {
        result = attempt(address);
        if result.is_ok() {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    /// Nobody has port 0.
    const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    #[test]
    fn each_address_of_a_name_is_tried() {
        let messages = ["one".to_owned()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [NOBODY.into(), listener.local_addr().unwrap()];
        let reader = thread::spawn(move || {
            let mut text = String::new();
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        tcp(&addresses[..], &messages, LONG).unwrap();
        assert_eq!(reader.join().unwrap(), "3 one");
    }
}
