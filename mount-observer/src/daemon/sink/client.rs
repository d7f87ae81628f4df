//! HTTP to a receiver: one request, one answer, on the thread of its sink.

use std::{sync::Arc, time::Duration};

use ureq::{
    Agent,
    http::{HeaderName, HeaderValue, StatusCode},
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
        let mut answer = answer.map_err(|error| Failure::Retry(error.to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = answer.body_mut().with_config().limit(REFUSAL_BYTES_MAX);
        let body = body.lossy_utf8(true).read_to_string().unwrap_or_default();
        let said = format!("{} answers {status}: {}", request.url, body.trim());
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
