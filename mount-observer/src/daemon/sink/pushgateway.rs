//! A Pushgateway: a group of `job` and `instance`, replaced at each push.

use super::{
    Failure, SinkError,
    client::{Client, Method, Request, Settings},
    metrics::WriteMetrics,
    place::Place,
};
use crate::{config, text::append};

/// A group of a Pushgateway.
#[derive(Debug)]
pub(super) struct Pushgateway {
    url: String,
    client: Client,
}

impl Pushgateway {
    pub(super) fn new(
        config: &config::Pushgateway,
        host: &str,
        place: &Place,
    ) -> Result<Self, SinkError> {
        let settings = Settings {
            url: &config.url,
            timeout: config.timeout,
            headers_file: &config.headers_file,
            ca_file: &config.ca_file,
        };
        let instance = if config.instance.is_empty() {
            host
        } else {
            &config.instance
        };
        Ok(Self {
            url: group(&config.url, &config.job, instance),
            client: Client::new(&settings, place)?,
        })
    }

    /// A group beside that of a daemon that runs.
    pub(super) fn for_drill(
        config: &config::Pushgateway,
        host: &str,
        place: &Place,
    ) -> Result<Self, SinkError> {
        let job = format!("{}-drill", config.job);
        let config = config::Pushgateway {
            job,
            ..config.clone()
        };
        Self::new(&config, host, place)
    }

    /// Takes the group away.
    pub(super) fn delete(&self) -> Result<(), Failure> {
        self.send(Method::Delete, "")
    }

    fn send(&self, method: Method, body: &str) -> Result<(), Failure> {
        self.client.send(&Request {
            method,
            url: &self.url,
            content_type: prometheus::TEXT_FORMAT,
            body: body.as_bytes(),
            headers: &[],
        })
    }
}

impl WriteMetrics for Pushgateway {
    fn write(&mut self, metrics: &str) -> Result<(), Failure> {
        self.send(Method::Put, metrics)
    }
}

fn group(base: &str, job: &str, instance: &str) -> String {
    let base = base.trim_end_matches('/');
    let (job, instance) = (percent_encoded(job), percent_encoded(instance));
    format!("{base}/metrics/job/{job}/instance/{instance}")
}

/// All but the unreserved characters of RFC 3986, 2.3.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            append(&mut out, format_args!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_step_of_a_path() {
        assert_eq!(
            group("http://gate:9091/", "mounts", "a/b\u{e4}"),
            "http://gate:9091/metrics/job/mounts/instance/a%2Fb%C3%A4"
        );
    }
}
