//! A Pushgateway: a group of `job` and `instance`, replaced at each push.

use base64::prelude::{BASE64_URL_SAFE, Engine as _};

use super::{
    Failure, SinkError,
    client::{Client, Method, Request, Settings},
    metrics::WriteMetrics,
    place::Place,
};
use crate::config;

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
    let (job, instance) = (step("job", job), step("instance", instance));
    format!("{base}/metrics/{job}/{instance}")
}

/// A label and its value as two steps of a path. A value with a slash would be more than one, however
/// it is encoded: the gateway takes it in base64 (its README, "Use with arbitrary labels").
fn step(label: &str, value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        format!("{label}/{value}")
    } else {
        // An empty value is `=`: a step that is empty is none.
        let value = Some(BASE64_URL_SAFE.encode(value)).filter(|value| !value.is_empty());
        format!("{label}@base64/{}", value.as_deref().unwrap_or("="))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_step_of_a_path() {
        assert_eq!(
            group("http://gate:9091/", "mounts", "a/b\u{e4}"),
            "http://gate:9091/metrics/job/mounts/instance@base64/YS9iw6Q="
        );
    }
}
