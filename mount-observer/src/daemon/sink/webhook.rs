//! A webhook: each notice as JSON, or as a template makes it, signed where there is a key.

use minijinja::{Environment, UndefinedBehavior};
use ring::hmac;

use super::{
    Deliver, Failure, SinkError,
    client::{Client, Method, Request, Settings},
    place::Place,
};
use crate::{config, notify::Notice, text::append};

/// Bears the signature of the body.
const SIGNATURE: &str = "X-Mount-Observer-Signature-256";
/// The same for a notice that is sent twice.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A receiver of webhooks.
#[derive(Debug)]
pub(super) struct Webhook {
    url: String,
    content_type: String,
    client: Client,
    template: Option<String>,
    key: Option<hmac::Key>,
}

impl Webhook {
    /// Reads its files and tries its template.
    pub(super) fn new(config: &config::Webhook, place: &Place) -> Result<Self, SinkError> {
        let settings = Settings {
            url: &config.url,
            timeout: config.timeout,
            headers_file: &config.headers_file,
            ca_file: &config.ca_file,
        };
        let webhook = Self {
            url: config.url.clone(),
            content_type: config.content_type.clone(),
            client: Client::new(&settings, place)?,
            template: optional(&config.template_file)
                .map(|path| place.read_text(path))
                .transpose()?,
            key: optional(&config.secret_file)
                .map(|path| key(path, place))
                .transpose()?,
        };
        if let Err(error) = webhook.body(&Notice::example()) {
            let path = config.template_file.clone();
            return Err(SinkError::Template(path, error.to_string()));
        }
        Ok(webhook)
    }

    fn body(&self, notice: &Notice) -> Result<String, minijinja::Error> {
        let Some(template) = &self.template else {
            // A notice is text and numbers: there is JSON for it.
            return Ok(serde_json::to_string(notice).unwrap_or_default());
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.render_str(template, notice)
    }
}

impl Deliver for Webhook {
    fn deliver(&mut self, notice: &Notice) -> Result<(), Failure> {
        let body = self.body(notice);
        let body = body.map_err(|error| Failure::Refused(format!("template: {error:#}")))?;
        let mut headers = vec![(IDEMPOTENCY_KEY, notice.key())];
        if let Some(key) = &self.key {
            headers.push((SIGNATURE, signature(key, body.as_bytes())));
        }
        self.client.send(&Request {
            method: Method::Post,
            url: &self.url,
            content_type: &self.content_type,
            body: body.as_bytes(),
            headers: &headers,
        })
    }
}

fn optional(path: &str) -> Option<&str> {
    (!path.is_empty()).then_some(path)
}

fn key(path: &str, place: &Place) -> Result<hmac::Key, SinkError> {
    let bytes = place.read(path)?;
    let secret = bytes.trim_ascii_end();
    if secret.is_empty() {
        return Err(SinkError::Content(path.to_owned(), "holds no key"));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, secret))
}

fn signature(key: &hmac::Key, body: &[u8]) -> String {
    let mut text = "sha256=".to_owned();
    for byte in hmac::sign(key, body).as_ref() {
        append(&mut text, format_args!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(template: Option<&str>) -> Webhook {
        let config = config::Webhook {
            url: "http://127.0.0.1:1/".to_owned(),
            ..config::Webhook::default()
        };
        Webhook {
            template: template.map(str::to_owned),
            ..Webhook::new(&config, &Place::default()).unwrap()
        }
    }

    #[test]
    fn a_template_sees_the_notice_and_a_field_that_is_none_is_an_error() {
        let notice = Notice::example();
        let template = "{\"text\": {{ line | tojson }}, \"colour\": \
                        \"{% if status == 'firing' %}red{% else %}green{% endif %}\", \
                        \"on\": \"{{ mount_points | join(' ') }}\"}";
        let body = webhook(Some(template)).body(&notice).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["text"], notice.line.as_str());
        assert_eq!(body["colour"], "red");
        assert!(webhook(Some("{{ lien }}")).body(&notice).is_err());
        let plain = webhook(None).body(&notice).unwrap();
        let plain: serde_json::Value = serde_json::from_str(&plain).unwrap();
        assert_eq!(plain, serde_json::to_value(&notice).unwrap());
    }

    /// RFC 4231, test case 2.
    #[test]
    fn a_signature_is_an_hmac() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(
            signature(&key, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
