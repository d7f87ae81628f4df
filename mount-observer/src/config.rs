//! Every setting, with its default. Parsing is strict: an unknown key is an error.

mod confine;
mod document;
mod keys;
mod parse;
mod record;
mod recovery;
mod sinks;
mod validate;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::AlertKind;

pub use confine::{Confine, Confinement};
pub use document::{commented_default, markdown};
pub use keys::{KEYS, Key};
pub use parse::{ConfigError, Problem, listen_address};
pub use record::Record;
pub use recovery::{Recover, Recovery};
pub use sinks::{Alertmanager, Exec, Facility, Pushgateway, Syslog, Textfile, ToldOf, Webhook};

/// The configuration file. Everything has a default; an empty file is a valid one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The HTTP listener.
    pub web: Web,
    /// What is logged, and how.
    pub log: Log,
    /// What is attached to the kernel.
    pub probes: Probes,
    /// Which mounts are observed.
    pub scope: Scope,
    /// Which mounts should be there.
    pub expect: Expect,
    /// When something is wrong.
    pub detect: Detect,
    /// Where incidents are remembered.
    pub storage: Storage,
    /// What is recorded of what led to them.
    pub record: Record,
    /// How careful a recovery is.
    pub recovery: Recovery,
    /// Mounts that may be repaired.
    pub recover: Vec<Recover>,
    /// What the daemon takes from itself.
    pub confine: Confine,
    /// How much is exported.
    pub metrics: Metrics,
    /// Told of alerts over syslog.
    pub syslog: Vec<Syslog>,
    /// Told of alerts: Alertmanagers.
    pub alertmanager: Vec<Alertmanager>,
    /// Told of alerts: whatever takes a POST.
    pub webhook: Vec<Webhook>,
    /// Told of alerts: programs.
    pub exec: Vec<Exec>,
    /// Files of metrics for node exporter.
    pub textfile: Vec<Textfile>,
    /// Pushgateways that get metrics.
    pub pushgateway: Vec<Pushgateway>,
}

/// `[web]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Address and port of `/metrics`, the API and the probes; loopback unless told otherwise.
    pub listen_address: String,
}

/// `[log]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least severe level shown.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
    /// Least severe level of the eBPF programs' own messages; `off` compiles them out.
    pub bpf: BpfLogLevel,
}

/// A log level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What ended the program, or an alert that fires as critical.
    Error,
    /// What somebody should look at.
    Warn,
    /// One line per change of state.
    #[default]
    Info,
    /// Scans, probes, decisions.
    Debug,
    /// Every event.
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Journald fields when systemd started us, else text.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Level of the eBPF programs' own messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BpfLogLevel {
    /// None: the programs contain no logging at all.
    #[default]
    Off,
    /// Failures of helpers.
    Warn,
    /// Every event: costs microseconds each.
    Debug,
}

/// `[probes]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probes {
    /// How path syscalls are observed.
    pub statx: StatxMode,
    /// Size of the ring buffer; the kernel takes a power of two of pages.
    pub ring_bytes: u32,
}

/// How path syscalls are observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatxMode {
    /// `full` where it is cheap (fentry or kprobes), `errors` where only syscall tracepoints are allowed.
    #[default]
    Auto,
    /// Errno and latency of every call.
    Full,
    /// Connection-class failures only.
    Errors,
    /// Nothing: costs nothing outside FUSE.
    Off,
}

impl StatxMode {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Full => "full",
            Self::Errors => "errors",
            Self::Off => "off",
        }
    }
}

/// `[scope]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Filesystem types observed; `*` matches any characters.
    pub include_fstypes: Vec<String>,
    /// Filesystem types left out, even if included.
    pub exclude_fstypes: Vec<String>,
    /// Mount points observed whatever their type.
    pub include_mount_points: Vec<String>,
    /// Mount points left out.
    pub exclude_mount_points: Vec<String>,
    /// Sources (mountinfo's tenth field) observed whatever their type.
    pub include_sources: Vec<String>,
    /// Sources left out.
    pub exclude_sources: Vec<String>,
    /// Whether local block filesystems (ext4, xfs, btrfs, ...) are observed too.
    pub local_filesystems: bool,
}

/// `[expect]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Mount points at which something should be mounted: absolute paths, no patterns.
    pub mount_points: Vec<String>,
    /// How long nothing may be mounted there before that alerts.
    #[serde(with = "humantime_serde")]
    pub missing_after: Duration,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            mount_points: Vec::new(),
            missing_after: Duration::from_secs(10),
        }
    }
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Directory of the incident journal; empty to remember nothing.
    pub path: String,
    /// An incident that ended longer ago is forgotten.
    #[serde(
        serialize_with = "whole_days",
        deserialize_with = "humantime_serde::deserialize"
    )]
    pub max_age: Duration,
    /// Above this many bytes, the oldest that ended are forgotten.
    pub max_bytes: u64,
}

/// `[detect]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Detect {
    /// Age at which a request in flight is overdue: hung or stuck, a warning.
    #[serde(with = "humantime_serde")]
    pub hung_after: Duration,
    /// Age at which that is critical.
    #[serde(with = "humantime_serde")]
    pub hung_critical_after: Duration,
    /// The same for requests that wait by design (SETLKW, POLL, IOCTL, INIT); `0s` turns it off.
    #[serde(with = "humantime_serde")]
    pub blocking_after: Duration,
    /// Connection-class failures within `storm_window` that make a storm.
    pub storm_errors: u64,
    /// Sliding window of the storm.
    #[serde(with = "humantime_serde")]
    pub storm_window: Duration,
    /// 99th percentile latency over `slow_window` above which a superblock is slow.
    #[serde(with = "humantime_serde")]
    pub slow_p99: Duration,
    /// Sliding window of the percentile.
    #[serde(with = "humantime_serde")]
    pub slow_window: Duration,
    /// Samples in the window below which the percentile says nothing.
    pub slow_min_samples: u64,
    /// How long a condition must stay away before its alert is resolved.
    #[serde(with = "humantime_serde")]
    pub clear_after: Duration,
}

/// humantime would make months of 30.44 days of it.
fn whole_days<S: serde::Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    const DAY: u64 = 86_400;
    if age.subsec_nanos() == 0 && age.as_secs().is_multiple_of(DAY) {
        serializer.collect_str(&format_args!("{}days", age.as_secs() / DAY))
    } else {
        humantime_serde::serialize(age, serializer)
    }
}

/// `[metrics]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Superblocks with series of their own; unhealthy ones first, then the busiest, the rest folded.
    pub max_superblocks: usize,
}

impl Config {
    /// The defaults with one of each table that may be repeated: what the documents show.
    pub fn example() -> Self {
        let recover = Recover {
            mount_point: "/srv/jobs/42".to_owned(),
            kinds: vec![AlertKind::Dead],
            steps: [
                "abort-connection",
                "lazy-unmount",
                "run /usr/bin/systemctl restart srv-jobs-42.mount",
                "verify",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        let own = |text: &str| text.to_owned();
        Self {
            recover: vec![recover],
            syslog: vec![Syslog::default()],
            alertmanager: vec![Alertmanager {
                urls: vec![own("http://alertmanager:9093")],
                ..Alertmanager::default()
            }],
            webhook: vec![Webhook {
                url: own("https://hooks.example.org/mounts"),
                ..Webhook::default()
            }],
            exec: vec![Exec {
                command: vec![own("/usr/local/bin/on-mount-alert")],
                ..Exec::default()
            }],
            textfile: vec![Textfile::default()],
            pushgateway: vec![Pushgateway {
                url: own("http://pushgateway:9091"),
                ..Pushgateway::default()
            }],
            ..Self::default()
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            path: "/var/lib/mount-observer".to_owned(),
            max_age: Duration::from_hours(90 * 24),
            max_bytes: 256 << 20,
        }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen_address: "127.0.0.1:9967".to_owned(),
        }
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            statx: StatxMode::default(),
            ring_bytes: 1 << 20,
        }
    }
}

impl Default for Scope {
    fn default() -> Self {
        let own = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
        Self {
            include_fstypes: own(&[
                "fuse",
                "fuse.*",
                "fuseblk",
                "fuseblk.*",
                "nfs",
                "nfs4",
                "cifs",
                "smb3",
                "ceph",
                "9p",
                "virtiofs",
                "afs",
                "glusterfs",
            ]),
            exclude_fstypes: own(&[
                "fuse.lxcfs",
                "fuse.portal",
                "fuse.gvfsd-fuse",
                "fuse.gvfs-fuse-daemon",
                "fuse.snapfuse",
            ]),
            include_mount_points: Vec::new(),
            exclude_mount_points: Vec::new(),
            include_sources: Vec::new(),
            exclude_sources: Vec::new(),
            local_filesystems: false,
        }
    }
}

impl Default for Detect {
    fn default() -> Self {
        Self {
            hung_after: Duration::from_secs(5),
            hung_critical_after: Duration::from_secs(30),
            blocking_after: Duration::ZERO,
            storm_errors: 5,
            storm_window: Duration::from_secs(10),
            slow_p99: Duration::from_secs(2),
            slow_window: Duration::from_mins(1),
            slow_min_samples: 10,
            clear_after: Duration::from_secs(10),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            max_superblocks: 64,
        }
    }
}
