//! HTTP to a receiver: one request, one answer, on the thread of its sink.

use std::{io::Read as _, sync::Arc, time::Duration};

use ureq::{
    Agent,
    http::{HeaderName, HeaderValue, StatusCode, Uri},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::{Failure, SinkError, place::Place};

/// Where distributions keep the certificates they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM_CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// How much of a refusal is read and told.
const REFUSAL_BYTES_MAX: u64 = 300;

/// A client for one receiver.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What the configuration says of a receiver.
pub(super) struct Settings<'a> {
    pub(super) url: &'a str,
    pub(super) timeout: Duration,
    pub(super) headers_file: &'a str,
    pub(super) ca_file: &'a str,
}

/// What a request is.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
    pub(super) headers: &'a [(&'static str, String)],
}

/// How a body is sent, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Post,
    Put,
    Delete,
}

impl Client {
    /// Reads the files it is told of; afterwards it needs none.
    pub(super) fn new(settings: &Settings<'_>, place: &Place) -> Result<Self, SinkError> {
        let timeout = settings.timeout;
        let tls = TlsConfig::builder();
        let tls = if settings.url.starts_with("https:") {
            tls.root_certs(roots(settings.ca_file, place)?).build()
        } else {
            tls.build()
        };
        // No limit over all of it: a name is resolved on this thread then, not on one that stays behind
        // when a resolver hangs.
        let agent = Agent::config_builder()
            .timeout_connect(Some(timeout))
            .timeout_send_request(Some(timeout))
            .timeout_send_body(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_recv_body(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            // A receiver that restarted has forgotten the connection.
            .max_idle_connections(0)
            .user_agent(concat!("mount-observer/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Self {
            agent,
            headers: headers(settings.headers_file, place)?,
        })
    }

    /// Sends; what another attempt may mend is to be tried again.
    pub(super) fn send(&self, request: &Request<'_>) -> Result<(), Failure> {
        let answer = self.answer(request);
        let mut answer = answer.map_err(|error| {
            Failure::Retry(format!("{}: {}", receiver(request.url), why(&error)))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let mut body = Vec::new();
        let reader = answer.body_mut().as_reader();
        // What came before an error says enough.
        reader.take(REFUSAL_BYTES_MAX).read_to_end(&mut body).ok();
        let body = without_path(&String::from_utf8_lossy(&body), request.url);
        let said = format!(
            "{} answers {status}: {}",
            receiver(request.url),
            body.trim()
        );
        let may_pass = status.is_server_error()
            || status == StatusCode::REQUEST_TIMEOUT
            || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if may_pass {
            Failure::Retry(said)
        } else {
            Failure::Refused(said)
        })
    }

    fn answer(
        &self,
        request: &Request<'_>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let own = self.headers.iter();
        let of_request = request.headers.iter();
        macro_rules! with_headers {
            ($builder:expr) => {{
                let builder = own.fold($builder, |builder, (name, value)| {
                    builder.header(name, value)
                });
                of_request.fold(builder, |builder, (name, value)| {
                    builder.header(*name, value)
                })
            }};
        }
        let content = ("Content-Type", request.content_type);
        match request.method {
            Method::Post => {
                with_headers!(self.agent.post(request.url).header(content.0, content.1))
                    .send(request.body)
            }
            Method::Put => with_headers!(self.agent.put(request.url).header(content.0, content.1))
                .send(request.body),
            Method::Delete => with_headers!(self.agent.delete(request.url)).call(),
        }
    }
}

/// Who is meant by a URL: scheme, host and port. All else may be secret: chat services have the
/// credential in the path, others in the query or before the `@`.
pub(in crate::daemon) fn receiver(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else {
        return "the receiver".to_owned();
    };
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port_u16();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}", uri.host().unwrap_or_default())
}

/// An error, without the URL that two of them name.
fn why(error: &ureq::Error) -> String {
    let is_url_named = matches!(
        error,
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_)
    );
    if is_url_named {
        "the url is bad".to_owned()
    } else {
        error.to_string()
    }
}

/// What a receiver says, without the path it was asked for: many servers repeat it ("Cannot POST
/// /..."), and it may be secret.
fn without_path(said: &str, url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else {
        return said.to_owned();
    };
    let path_and_query = uri.path_and_query().map_or("", |path| path.as_str());
    let secrets = [path_and_query, uri.path(), uri.query().unwrap_or_default()];
    let secrets = secrets.iter().filter(|secret| secret.len() > 1);
    secrets.fold(said.to_owned(), |said, secret| {
        said.replace(secret, "[...]")
    })
}

/// The certificates of the file, else of the system, else of Mozilla as of this build.
fn roots(ca_file: &str, place: &Place) -> Result<RootCerts, SinkError> {
    if !ca_file.is_empty() {
        let found = certificates(&place.read(ca_file)?);
        if found.is_empty() {
            return Err(SinkError::Content(
                ca_file.to_owned(),
                "holds no certificate",
            ));
        }
        return Ok(RootCerts::Specific(Arc::new(found)));
    }
    let of_system = SYSTEM_CERTIFICATES
        .iter()
        .filter_map(|path| place.read(path).ok())
        .map(|pem| certificates(&pem))
        .find(|found| !found.is_empty());
    Ok(of_system.map_or(RootCerts::WebPki, |found| {
        RootCerts::Specific(Arc::new(found))
    }))
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem).filter_map(Result::ok);
    let certificates = items.filter_map(|item| {
        if let PemItem::Certificate(certificate) = item {
            Some(certificate)
        } else {
            None
        }
    });
    certificates.collect()
}

/// `Name: value` lines; empty ones and comments are left out.
fn headers(headers_file: &str, place: &Place) -> Result<Vec<(HeaderName, HeaderValue)>, SinkError> {
    if headers_file.is_empty() {
        return Ok(Vec::new());
    }
    let text = place.read_text(headers_file)?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        let mut value = HeaderValue::from_str(value.trim()).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    let headers: Option<Vec<_>> = lines.map(header).collect();
    headers.ok_or_else(|| {
        SinkError::Content(
            headers_file.to_owned(),
            "has a line that is no `Name: value`",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// What is said of a receiver that answers so, or of nobody.
    fn said(answer: Option<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = answer.map(|answer| {
            let listener = listener.try_clone().unwrap();
            thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"body") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            })
        });
        drop(listener);
        let url = format!("http://me:hunter2@{address}/services/T0/s3cret?key=s3cret");
        let settings = Settings {
            url: &url,
            timeout: Duration::from_secs(20),
            headers_file: "",
            ca_file: "",
        };
        let client = Client::new(&settings, &Place::default()).unwrap();
        let told = client.send(&Request {
            method: Method::Post,
            url: &url,
            content_type: "text/plain",
            body: b"body",
            headers: &[],
        });
        if let Some(server) = server {
            server.join().unwrap();
        }
        let (Failure::Retry(said) | Failure::Refused(said)) = told.unwrap_err();
        let place = format!("http://{address}");
        assert!(said.starts_with(&place), "{said}");
        said.replace(&place, "HERE")
    }

    fn not_found(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    #[test]
    fn a_receiver_is_named_without_what_may_be_secret() {
        let refused = said(Some(not_found(
            "Cannot POST /services/T0/s3cret?key=s3cret, no /services/T0/s3cret",
        )));
        assert_eq!(
            refused,
            "HERE answers 404 Not Found: Cannot POST [...], no [...]"
        );
        let unreached = said(None);
        assert!(unreached.starts_with("HERE: io: "), "{unreached}");
        assert_eq!(
            receiver("https://chat.example/a/b?c"),
            "https://chat.example"
        );
        assert_eq!(receiver("http://u:p@[::1]:80/a"), "http://[::1]:80");
        assert_eq!(receiver("http://[a/b"), "the receiver");
    }

    #[test]
    fn a_long_refusal_is_told_in_part() {
        let refused = said(Some(not_found(&"x".repeat(1_000))));
        let told = refused.matches('x').count();
        assert_eq!(u64::try_from(told).unwrap(), REFUSAL_BYTES_MAX, "{refused}");
    }
}
