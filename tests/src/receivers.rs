//! Those whom the observer tells: receivers of other people, and one of ours for webhooks.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    needs,
    sandbox::beside_us,
    wait::{patience, poll},
};

/// The name of the directory below cargo's target directory in which `cargo xtask test` unpacks
/// receivers: their packages would start them.
const UNPACKED: &str = "receivers";

/// The path of a program of a Debian package. Says so where it is not there.
pub fn receiver(test: &str, package: &str, program: &str) -> Option<PathBuf> {
    let unpacked = unpacked();
    let found = needs::program(program).or_else(|| {
        let directories = ["usr/bin", "usr/sbin"].map(|name| unpacked.join(name));
        let mut paths = directories.iter().map(|directory| directory.join(program));
        paths.find(|path| needs::is_file(path))
    });
    if found.is_none() {
        needs::say(&format!("NOT HERE: {test}: the package {package}"));
    }
    found
}

/// Where receivers are unpacked.
pub fn unpacked() -> PathBuf {
    let ours = beside_us("observer");
    let target = ours.ancestors().find(|path| path.ends_with("target"));
    target.unwrap_or(&ours).join(UNPACKED)
}

/// A port nobody listens on right now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind a port");
    listener.local_addr().expect("its address").port()
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Header lines.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
}

impl Received {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (of, value) = line.split_once(':')?;
            of.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// A receiver of webhooks.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Where it listens, on the loopback.
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Webhooks {
    /// Answers 200 to everything.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> Self {
        Self::start_on(free_port(), "200 OK")
    }

    /// Answers the same to everything.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start_on(port: u16, answer: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("bind a port");
        let webhooks = Self {
            port,
            received: Arc::default(),
        };
        let received = Arc::clone(&webhooks.received);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Ok(Some(request)) = serve(&stream, answer) {
                    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
                    received.push(request);
                }
            }
        });
        webhooks
    }

    /// Everything so far.
    pub fn received(&self) -> Vec<Received> {
        let received = self.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for so many.
    ///
    /// # Panics
    /// When they do not come; shows those that did.
    #[track_caller]
    pub fn wait_for(&self, count: usize, deadline: Duration) -> Vec<Received> {
        let found = poll(patience(deadline), || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        });
        found.unwrap_or_else(|| panic!("not {count} in {deadline:?}: {:#?}", self.received()))
    }
}

fn serve(stream: &TcpStream, answer: &str) -> io::Result<Option<Received>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        headers.push(line);
    }
    let mut request = Received {
        headers,
        body: String::new(),
    };
    let length = request.header("Content-Length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_string(&mut request.body)?;
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    Ok(Some(request))
}
