//! A notice as messages of syslog, RFC 5424.

use super::escape::{Escaped, escaped};
use crate::{
    alert::Severity,
    config::Facility,
    notify::{Notice, Status, rfc3339},
    text::append,
};

/// Longest message. RFC 5424, 6.1: receivers should take 2048 octets, and may take more; rsyslog takes
/// 8 KiB unless told otherwise.
pub const BYTES_MAX: usize = 8 << 10;
/// The same for UDP: one datagram that most paths carry whole.
pub const UDP_BYTES_MAX: usize = 2 << 10;
/// Longest host name (RFC 5424, 6).
const HOST_BYTES_MAX: usize = 255;
/// Longest value of a parameter; those of a path.
const VALUE_BYTES_MAX: usize = 1 << 10;
/// The number that RFC 5612 sets aside for whoever has none of their own.
const ELEMENT: &str = "mountObserver@32473";

/// The alert, in the words that monitors of mounts have always used, then what was counted.
pub fn messages(
    notice: &Notice,
    facility: Facility,
    process: u32,
    bytes_max: usize,
) -> [String; 2] {
    let health = match notice.status {
        Status::Firing => {
            let mountpoint = Escaped(&notice.mountpoint);
            format!("Mount failed health-check: {mountpoint}: {}", notice.line)
        }
        Status::Resolved => notice.line.clone(),
    };
    let header = |severity| header(notice, facility, severity, process);
    let alert = format!(
        "{} {} {}",
        header(level(notice)),
        data(notice),
        escaped(&health)
    );
    let summary = format!(
        "{} - {}",
        header(Level::Informational),
        escaped(&notice.summary)
    );
    [alert, summary].map(|message| cut(message, bytes_max))
}

/// Severities of RFC 5424, 6.2.1.
#[derive(Clone, Copy)]
enum Level {
    Critical,
    Warning,
    Notice,
    Informational,
}

fn level(notice: &Notice) -> Level {
    match (notice.status, notice.severity) {
        (Status::Resolved, _) => Level::Notice,
        (Status::Firing, Severity::Critical) => Level::Critical,
        (Status::Firing, Severity::Warning) => Level::Warning,
    }
}

fn number(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Warning => 4,
        Level::Notice => 5,
        Level::Informational => 6,
    }
}

/// Facilities of RFC 5424, 6.2.1.
fn facility_number(facility: Facility) -> u8 {
    match facility {
        Facility::User => 1,
        Facility::Daemon => 3,
        Facility::Local0 => 16,
        Facility::Local1 => 17,
        Facility::Local2 => 18,
        Facility::Local3 => 19,
        Facility::Local4 => 20,
        Facility::Local5 => 21,
        Facility::Local6 => 22,
        Facility::Local7 => 23,
    }
}

/// `<26>1 TIME HOST mount-observer PID alert`.
fn header(notice: &Notice, facility: Facility, level: Level, process: u32) -> String {
    let priority = facility_number(facility) * 8 + number(level);
    let (time, host) = (rfc3339(notice.at), host(&notice.host));
    format!("<{priority}>1 {time} {host} mount-observer {process} alert")
}

/// A name of printable characters; `-` stands for none.
fn host(name: &str) -> String {
    let name: String = name.chars().filter(char::is_ascii_graphic).collect();
    if name.is_empty() {
        "-".to_owned()
    } else {
        cut(name, HOST_BYTES_MAX)
    }
}

/// The structured data: what a machine looks for.
fn data(notice: &Notice) -> String {
    let superblock = notice.superblock.map(|id| id.to_string());
    let mut data = format!("[{ELEMENT}");
    for (name, value) in [
        ("status", notice.status.name()),
        ("kind", notice.kind.name()),
        ("severity", notice.severity.name()),
        ("incident", notice.incident.as_str()),
        ("mountpoint", notice.mountpoint.as_str()),
        ("fstype", notice.fstype.as_str()),
        ("device", notice.device.as_str()),
        ("superblock", superblock.as_deref().unwrap_or("")),
        ("returns", &notice.returns.to_string()),
        ("drill", if notice.is_drill { "true" } else { "false" }),
    ] {
        let value = cut(escaped(value), VALUE_BYTES_MAX);
        append(&mut data, format_args!(" {name}=\"{}\"", quoted(&value)));
    }
    data.push(']');
    data
}

/// RFC 5424, 6.3.3: these three are escaped.
fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// At most so many bytes, whole characters.
fn cut(mut text: String, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{Change, Resolution, Transition},
        notify::Origin,
        render::fixture,
    };

    fn notice(change: Change, mountpoint: &str) -> Notice {
        let transition = Transition {
            change,
            mountpoint: mountpoint.to_owned(),
            victims: Vec::new(),
            ..fixture::transition()
        };
        let origin = Origin {
            host: "web1".to_owned(),
            is_drill: false,
        };
        let at = transition.since_unix_ns;
        Notice::new(&origin, at, "Checked 5 mounts; 1 is dead", &transition)
    }

    #[test]
    fn what_fires_and_what_ended() {
        let fires = messages(
            &notice(Change::Firing, "/mnt/a"),
            Facility::Daemon,
            7,
            BYTES_MAX,
        );
        let why = Resolution::Recovered;
        let ended = notice(Change::Resolved { why }, "/mnt/a");
        let ended = messages(&ended, Facility::Local7, 7, BYTES_MAX);
        insta::assert_snapshot!([fires.join("\n"), ended.join("\n")].join("\n"));
    }

    #[test]
    fn a_hostile_name_neither_ends_a_line_nor_a_parameter() {
        let hostile = notice(Change::Firing, "/mnt/\"] [x\n<0>1 \\ \u{1b}\u{202e}");
        let [message, _] = messages(&hostile, Facility::Daemon, 7, BYTES_MAX);
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(
            message.contains(r#"mountpoint="/mnt/\"\] [x\\n<0>1 \\ \\x1b\\u{202e}""#),
            "{message}"
        );
    }

    #[test]
    fn a_long_name_is_cut_and_whole_characters_are_left() {
        let long = notice(Change::Firing, &"\u{e4}".repeat(5_000));
        let [message, _] = messages(&long, Facility::Daemon, 7, UDP_BYTES_MAX);
        assert!((UDP_BYTES_MAX - 1..=UDP_BYTES_MAX).contains(&message.len()));
    }
}
