//! The keys of those who are told.

use super::{DURATION, Key, PATTERNS, key};

const NAME: &str =
    "What metrics and logs call it; \"\" is the name of the section. Two sinks need two names.";
const NAME_TAKES: &str = "a string";
const KINDS: &str = "Kinds of alert it is told of; none means all.";
const KINDS_TAKE: &str = "a list of \"slow\", \"erroring\", \"stuck\", \"hung\", \"dead\", \"missing\", \"shadow_writes\", \"recovery\"";
const SEVERITY: &str = "Least severity it is told of.";
const SEVERITY_TAKES: &str = "one of \"warning\", \"critical\"";
const MOUNT_POINTS: &str =
    "Mount points it is told of: one of the superblock's must match. None means all.";
const TIMEOUT: &str = "How long each step of an attempt may take: to connect (to one address, for syslog), to send, to be answered. How long a name is looked up is up to the system's resolver (resolv.conf(5)).";
const GIVE_UP: &str = "How long a notice is tried before it is given up, and counted as `expired`, after an attempt that failed. The latest 256 wait, in order.";
const HEADERS: &str = "A file of `Name: value` lines sent with each request, read at start: for secrets, which do not belong here.";
const CA: &str = "A file of PEM certificates trusted instead of the system's.";
const FILE: &str = "an absolute path, or \"\"";
const URL: &str = "an address that begins with \"http://\" or \"https://\"";

/// In the order they are documented.
pub(super) const SINKS: &[Key] = &[
    key("syslog", "name", NAME_TAKES, NAME),
    key(
        "syslog",
        "address",
        "an absolute path, \"udp://HOST:PORT\" or \"tcp://HOST:PORT\"",
        "Where messages (RFC 5424) go: a socket of this machine, or another's. TCP counts octets (RFC 6587) and makes a connection for each notice.",
    ),
    key(
        "syslog",
        "facility",
        "one of \"user\", \"daemon\", \"local0\" to \"local7\"",
        "The facility of each message.",
    ),
    key("syslog", "kinds", KINDS_TAKE, KINDS),
    key("syslog", "min_severity", SEVERITY_TAKES, SEVERITY),
    key("syslog", "mount_points", PATTERNS, MOUNT_POINTS),
    key("syslog", "timeout", DURATION, TIMEOUT),
    key("syslog", "give_up_after", DURATION, GIVE_UP),
    key("alertmanager", "name", NAME_TAKES, NAME),
    key(
        "alertmanager",
        "urls",
        "a list of addresses that begin with \"http://\" or \"https://\"",
        "Base addresses of all members of the cluster: each is sent every alert, to `/api/v2/alerts`.",
    ),
    key(
        "alertmanager",
        "resend_every",
        "a duration from \"1s\" to \"3m\"",
        "How often an alert that fires is sent again. Below Alertmanager's `resolve_timeout` (5 minutes), or it would end it.",
    ),
    key(
        "alertmanager",
        "labels",
        "a table of strings: { team = \"storage\" }",
        "Labels added to every alert.",
    ),
    key(
        "alertmanager",
        "generator_url",
        "an address, or \"\"",
        "Where the link of an alert leads; \"\" is the listener of this observer by the machine's name.",
    ),
    key("alertmanager", "kinds", KINDS_TAKE, KINDS),
    key("alertmanager", "min_severity", SEVERITY_TAKES, SEVERITY),
    key("alertmanager", "mount_points", PATTERNS, MOUNT_POINTS),
    key("alertmanager", "headers_file", FILE, HEADERS),
    key("alertmanager", "ca_file", FILE, CA),
    key("alertmanager", "timeout", DURATION, TIMEOUT),
    key(
        "alertmanager",
        "give_up_after",
        DURATION,
        "How long the end of an alert is tried. What fires is tried for as long as it fires.",
    ),
    key("webhook", "name", NAME_TAKES, NAME),
    key("webhook", "url", URL, "Where each notice is posted to."),
    key(
        "webhook",
        "template_file",
        FILE,
        "A file with the body as a template (the language of Jinja2) over the fields of the notice, read at start; \"\" posts the notice as JSON (docs/API.md). Nothing is escaped by itself: in JSON write `{{ line | tojson }}`, without quotes around it: `{\"text\": {{ line | tojson }}}`. A mount point can hold quotes and newlines.",
    ),
    key(
        "webhook",
        "content_type",
        NAME_TAKES,
        "The Content-Type of the body.",
    ),
    key(
        "webhook",
        "secret_file",
        FILE,
        "A file with a key, read at start: the body's HMAC-SHA256 with it is sent as `X-Mount-Observer-Signature-256: sha256=<hex>`. Blanks and newlines at its end are no part of it.",
    ),
    key("webhook", "kinds", KINDS_TAKE, KINDS),
    key("webhook", "min_severity", SEVERITY_TAKES, SEVERITY),
    key("webhook", "mount_points", PATTERNS, MOUNT_POINTS),
    key("webhook", "headers_file", FILE, HEADERS),
    key("webhook", "ca_file", FILE, CA),
    key("webhook", "timeout", DURATION, TIMEOUT),
    key("webhook", "give_up_after", DURATION, GIVE_UP),
    key("exec", "name", NAME_TAKES, NAME),
    key(
        "exec",
        "command",
        "a list of strings: an absolute path and its arguments",
        "A program that gets each notice as JSON on standard input and as `MOUNT_OBSERVER_*` in its environment, which holds nothing else but PATH and LANG. Its directory is `/`; no shell comes between. It runs as the observer's user, outside the observer's confinement. An exit code other than 0 is a failure, and tried again.",
    ),
    key("exec", "kinds", KINDS_TAKE, KINDS),
    key("exec", "min_severity", SEVERITY_TAKES, SEVERITY),
    key("exec", "mount_points", PATTERNS, MOUNT_POINTS),
    key(
        "exec",
        "timeout",
        DURATION,
        "How long it may run; then it is killed with its process group.",
    ),
    key("exec", "give_up_after", DURATION, GIVE_UP),
    key("textfile", "name", NAME_TAKES, NAME),
    key(
        "textfile",
        "directory",
        "an absolute path",
        "The directory that node exporter's textfile collector reads. `mount-observer.prom` is written beside and renamed. It must not lie on a mount that is observed, and the observer's user must be allowed to write there without any capability.",
    ),
    key(
        "textfile",
        "interval",
        DURATION,
        "How often the file is written, besides at each change of an alert.",
    ),
    key("pushgateway", "name", NAME_TAKES, NAME),
    key("pushgateway", "url", URL, "Its base address."),
    key(
        "pushgateway",
        "job",
        NAME_TAKES,
        "The `job` of the group that is replaced at each push.",
    ),
    key(
        "pushgateway",
        "instance",
        NAME_TAKES,
        "The `instance` of the group; \"\" is the machine's name.",
    ),
    key(
        "pushgateway",
        "interval",
        DURATION,
        "How often it is pushed to, besides at each change of an alert.",
    ),
    key("pushgateway", "headers_file", FILE, HEADERS),
    key("pushgateway", "ca_file", FILE, CA),
    key("pushgateway", "timeout", DURATION, TIMEOUT),
];
