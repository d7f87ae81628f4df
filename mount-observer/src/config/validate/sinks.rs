//! What types cannot say about those who are told.

use std::{collections::BTreeSet, time::Duration};

use globset::Glob;

use super::{Complaints, takes};
use crate::config::{Config, ToldOf};

/// Longer, and Alertmanager ends what still fires (`resolve_timeout`, 5 minutes).
const RESEND_MAX: Duration = Duration::from_mins(3);
const RESEND_MIN: Duration = Duration::from_secs(1);

impl Config {
    pub(super) fn validate_sinks(&self, complaints: &mut Complaints<'_>) {
        self.names_differ(complaints);
        for (index, sink) in self.syslog.iter().enumerate() {
            let mut at = At::new(complaints, "syslog", index);
            at.told_of(sink.told_of());
            at.takes("address", is_syslog_address(&sink.address));
            at.is_positive("timeout", sink.timeout);
        }
        for (index, sink) in self.alertmanager.iter().enumerate() {
            let mut at = At::new(complaints, "alertmanager", index);
            at.told_of(sink.told_of());
            at.takes(
                "urls",
                !sink.urls.is_empty() && sink.urls.iter().all(|url| is_url(url)),
            );
            let is_in_range = (RESEND_MIN..=RESEND_MAX).contains(&sink.resend_every);
            at.takes("resend_every", is_in_range);
            at.takes(
                "generator_url",
                sink.generator_url.is_empty() || is_url(&sink.generator_url),
            );
            let are_names = sink.labels.keys().all(|name| is_label(name));
            at.takes("labels", are_names);
            at.is_file("headers_file", &sink.headers_file);
            at.is_file("ca_file", &sink.ca_file);
            at.is_positive("timeout", sink.timeout);
        }
        for (index, sink) in self.webhook.iter().enumerate() {
            let mut at = At::new(complaints, "webhook", index);
            at.told_of(sink.told_of());
            at.takes("url", is_url(&sink.url));
            for (name, file) in [
                ("template_file", &sink.template_file),
                ("secret_file", &sink.secret_file),
                ("headers_file", &sink.headers_file),
                ("ca_file", &sink.ca_file),
            ] {
                at.is_file(name, file);
            }
            at.is_positive("timeout", sink.timeout);
        }
        for (index, sink) in self.exec.iter().enumerate() {
            let mut at = At::new(complaints, "exec", index);
            at.told_of(sink.told_of());
            let program = sink.command.first();
            at.takes(
                "command",
                program.is_some_and(|program| program.starts_with('/')),
            );
            at.is_positive("timeout", sink.timeout);
        }
        for (index, sink) in self.textfile.iter().enumerate() {
            let mut at = At::new(complaints, "textfile", index);
            at.takes("directory", sink.directory.starts_with('/'));
            at.is_positive("interval", sink.interval);
        }
        for (index, sink) in self.pushgateway.iter().enumerate() {
            let mut at = At::new(complaints, "pushgateway", index);
            at.takes("url", is_url(&sink.url));
            at.is_file("headers_file", &sink.headers_file);
            at.is_file("ca_file", &sink.ca_file);
            at.is_positive("interval", sink.interval);
            at.is_positive("timeout", sink.timeout);
        }
    }

    /// The section, the index in it and the name of every sink.
    pub fn sink_names(&self) -> Vec<(&'static str, usize, &str)> {
        fn of<'a>(
            section: &'static str,
            names: impl Iterator<Item = &'a String>,
        ) -> impl Iterator<Item = (&'static str, usize, &'a str)> {
            names.enumerate().map(move |(index, name)| {
                let name = if name.is_empty() {
                    section
                } else {
                    name.as_str()
                };
                (section, index, name)
            })
        }
        of("syslog", self.syslog.iter().map(|sink| &sink.name))
            .chain(of(
                "alertmanager",
                self.alertmanager.iter().map(|sink| &sink.name),
            ))
            .chain(of("webhook", self.webhook.iter().map(|sink| &sink.name)))
            .chain(of("exec", self.exec.iter().map(|sink| &sink.name)))
            .chain(of("textfile", self.textfile.iter().map(|sink| &sink.name)))
            .chain(of(
                "pushgateway",
                self.pushgateway.iter().map(|sink| &sink.name),
            ))
            .collect()
    }

    fn names_differ(&self, complaints: &mut Complaints<'_>) {
        let mut seen = BTreeSet::new();
        for (section, index, name) in self.sink_names() {
            if !seen.insert(name) {
                let what = format!("{name:?} is the name of another sink; each needs its own");
                complaints.add_to(section, index, "name", &what);
            }
        }
    }
}

/// One of several tables of a section.
struct At<'a, 'b> {
    complaints: &'a mut Complaints<'b>,
    section: &'static str,
    index: usize,
}

impl<'a, 'b> At<'a, 'b> {
    fn new(complaints: &'a mut Complaints<'b>, section: &'static str, index: usize) -> Self {
        Self {
            complaints,
            section,
            index,
        }
    }

    fn add(&mut self, name: &str, what: &str) {
        self.complaints.add_to(self.section, self.index, name, what);
    }

    /// Complains unless the value is what the key takes.
    fn takes(&mut self, name: &str, is_taken: bool) {
        if !is_taken {
            let what = format!("must be {}", takes(self.section, name));
            self.add(name, &what);
        }
    }

    fn is_file(&mut self, name: &str, path: &str) {
        self.takes(name, path.is_empty() || path.starts_with('/'));
    }

    fn is_positive(&mut self, name: &str, duration: Duration) {
        if duration.is_zero() {
            self.add(name, "must be more than \"0s\"");
        }
    }

    fn told_of(&mut self, told_of: ToldOf<'_>) {
        for pattern in told_of.mount_points {
            if let Err(error) = Glob::new(pattern) {
                let what = format!("has a bad pattern {pattern:?}: {}", error.kind());
                self.add("mount_points", &what);
            }
        }
    }
}

fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(|c| c.is_ascii_graphic())
    })
}

fn is_syslog_address(text: &str) -> bool {
    let rest = text
        .strip_prefix("udp://")
        .or_else(|| text.strip_prefix("tcp://"));
    rest.map_or(text.starts_with('/'), |rest| {
        let host_and_port = rest.rsplit_once(':');
        host_and_port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    })
}

/// A label's name, as Prometheus has it.
fn is_label(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
