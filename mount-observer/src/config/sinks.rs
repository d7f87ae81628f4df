//! `[[syslog]]`, `[[alertmanager]]`, `[[webhook]]`, `[[exec]]`, `[[textfile]]` and
//! `[[pushgateway]]`: who is told, and of what.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::alert::{AlertKind, Severity};

/// Declares a sink that is told of alerts: its name and what it is told of come first in each.
macro_rules! alert_sink {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            /// What metrics and logs call it; empty: the name of the section.
            pub name: String,
            /// Kinds of alert it is told of; empty: all.
            pub kinds: Vec<AlertKind>,
            /// Least severity it is told of.
            pub min_severity: Severity,
            /// Patterns of mount points it is told of; empty: all.
            pub mount_points: Vec<String>,
            $($(#[$key_doc])* pub $key: $type,)*
        }

        impl $name {
            /// What it is told of.
            pub fn told_of(&self) -> ToldOf<'_> {
                ToldOf {
                    kinds: &self.kinds,
                    min_severity: self.min_severity,
                    mount_points: &self.mount_points,
                }
            }
        }
    };
}

/// What a sink is told of.
#[derive(Clone, Copy, Debug)]
pub struct ToldOf<'a> {
    /// Kinds of alert; empty: all.
    pub kinds: &'a [AlertKind],
    /// Least severity.
    pub min_severity: Severity,
    /// Patterns of mount points; empty: all.
    pub mount_points: &'a [String],
}

alert_sink! {
    /// `[[syslog]]`
    Syslog {
        /// A socket of this machine, or `udp://HOST:PORT`, or `tcp://HOST:PORT`.
        address: String,
        /// The facility of each message.
        facility: Facility,
        /// How long one attempt may take.
        #[serde(with = "humantime_serde")]
        timeout: Duration,
        /// How long a notice is tried.
        #[serde(with = "humantime_serde")]
        give_up_after: Duration,
    }
}

alert_sink! {
    /// `[[alertmanager]]`
    Alertmanager {
        /// Base addresses of all members of a cluster.
        urls: Vec<String>,
        /// How often an alert that fires is sent again.
        #[serde(with = "humantime_serde")]
        resend_every: Duration,
        /// Added to the labels of every alert.
        labels: BTreeMap<String, String>,
        /// Where an alert leads whoever follows its link.
        generator_url: String,
        /// A file of header lines.
        headers_file: String,
        /// A file of certificates that are trusted instead of the system's.
        ca_file: String,
        /// How long one attempt may take.
        #[serde(with = "humantime_serde")]
        timeout: Duration,
        /// How long the end of an alert is tried.
        #[serde(with = "humantime_serde")]
        give_up_after: Duration,
    }
}

alert_sink! {
    /// `[[webhook]]`
    Webhook {
        /// Where to.
        url: String,
        /// A file with a template of the body; empty: the notice as JSON.
        template_file: String,
        /// What the body is.
        content_type: String,
        /// A file with the key that signs the body.
        secret_file: String,
        /// A file of header lines.
        headers_file: String,
        /// A file of certificates that are trusted instead of the system's.
        ca_file: String,
        /// How long one attempt may take.
        #[serde(with = "humantime_serde")]
        timeout: Duration,
        /// How long a notice is tried.
        #[serde(with = "humantime_serde")]
        give_up_after: Duration,
    }
}

alert_sink! {
    /// `[[exec]]`
    Exec {
        /// A program and its arguments.
        command: Vec<String>,
        /// How long it may run.
        #[serde(with = "humantime_serde")]
        timeout: Duration,
        /// How long a notice is tried.
        #[serde(with = "humantime_serde")]
        give_up_after: Duration,
    }
}

/// `[[textfile]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Textfile {
    /// What metrics and logs call it; empty: the name of the section.
    pub name: String,
    /// Directory of node exporter's textfile collector.
    pub directory: String,
    /// How often the file is written, besides at each change of an alert.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
}

/// `[[pushgateway]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pushgateway {
    /// What metrics and logs call it; empty: the name of the section.
    pub name: String,
    /// Its base address.
    pub url: String,
    /// The `job` of the group.
    pub job: String,
    /// The `instance` of the group; empty: the name of this machine.
    pub instance: String,
    /// How often it is pushed to, besides at each change of an alert.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// A file of header lines.
    pub headers_file: String,
    /// A file of certificates that are trusted instead of the system's.
    pub ca_file: String,
    /// How long one attempt may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// A facility of syslog (RFC 5424, 6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Facility {
    /// 1
    User,
    /// 3
    #[default]
    Daemon,
    /// 16
    Local0,
    /// 17
    Local1,
    /// 18
    Local2,
    /// 19
    Local3,
    /// 20
    Local4,
    /// 21
    Local5,
    /// 22
    Local6,
    /// 23
    Local7,
}

const TIMEOUT: Duration = Duration::from_secs(10);
const GIVE_UP_AFTER: Duration = Duration::from_hours(1);

impl Default for Syslog {
    fn default() -> Self {
        Self {
            name: String::new(),
            kinds: Vec::new(),
            min_severity: Severity::Warning,
            mount_points: Vec::new(),
            address: "/dev/log".to_owned(),
            facility: Facility::default(),
            timeout: TIMEOUT,
            give_up_after: GIVE_UP_AFTER,
        }
    }
}

impl Default for Alertmanager {
    fn default() -> Self {
        Self {
            name: String::new(),
            kinds: Vec::new(),
            min_severity: Severity::Warning,
            mount_points: Vec::new(),
            urls: Vec::new(),
            resend_every: Duration::from_mins(1),
            labels: BTreeMap::new(),
            generator_url: String::new(),
            headers_file: String::new(),
            ca_file: String::new(),
            timeout: TIMEOUT,
            give_up_after: GIVE_UP_AFTER,
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            name: String::new(),
            kinds: Vec::new(),
            min_severity: Severity::Warning,
            mount_points: Vec::new(),
            url: String::new(),
            template_file: String::new(),
            content_type: "application/json".to_owned(),
            secret_file: String::new(),
            headers_file: String::new(),
            ca_file: String::new(),
            timeout: TIMEOUT,
            give_up_after: GIVE_UP_AFTER,
        }
    }
}

impl Default for Exec {
    fn default() -> Self {
        Self {
            name: String::new(),
            kinds: Vec::new(),
            min_severity: Severity::Warning,
            mount_points: Vec::new(),
            command: Vec::new(),
            timeout: Duration::from_secs(30),
            give_up_after: Duration::from_mins(10),
        }
    }
}

impl Default for Textfile {
    fn default() -> Self {
        Self {
            name: String::new(),
            directory: "/var/lib/prometheus/node-exporter".to_owned(),
            interval: Duration::from_secs(15),
        }
    }
}

impl Default for Pushgateway {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            job: "mount-observer".to_owned(),
            instance: String::new(),
            interval: Duration::from_secs(15),
            headers_file: String::new(),
            ca_file: String::new(),
            timeout: TIMEOUT,
        }
    }
}
