//! journald's native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): one datagram of
//! fields per entry.

use std::{io, os::unix::net::UnixDatagram};

use serde_json::Value;
use tracing::Level;

use super::entry::Entry;

/// journald's socket.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value sent; a datagram of a few of them stays below the socket's default buffer.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Connects to journald.
pub(super) fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

/// The datagram of an entry.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    // journalctl shows nothing else unless asked.
    push(&mut out, "MESSAGE", &entry.said());
    push(&mut out, "PRIORITY", priority(entry.level));
    push(&mut out, "SYSLOG_IDENTIFIER", "mount-observer");
    push(&mut out, "MOUNT_OBSERVER_TARGET", entry.target);
    for (name, value) in &entry.fields {
        let name = format!("MOUNT_OBSERVER_{}", name.to_uppercase().replace('.', "_"));
        if let Value::String(text) = value {
            push(&mut out, &name, text);
        } else {
            push(&mut out, &name, &value.to_string());
        }
    }
    out
}

/// Priorities of syslog(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// A value with a newline is sent with its length, so that it cannot forge a field.
fn push(out: &mut Vec<u8>, name: &str, value: &str) {
    let value = value.as_bytes();
    let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::Wall;

    #[test]
    fn a_newline_cannot_forge_a_field() {
        let entry = Entry {
            at: Wall(0),
            level: Level::ERROR,
            target: "t",
            message: "m".to_owned(),
            fields: vec![("mountpoint", json!("/a\nPRIORITY=7")), ("pid", json!(7))],
        };
        let mut expected = b"MESSAGE=m mountpoint=\"/a\\nPRIORITY=7\" pid=7\nPRIORITY=3\nSYSLOG_IDENTIFIER=mount-observer\n\
            MOUNT_OBSERVER_TARGET=t\nMOUNT_OBSERVER_MOUNTPOINT\n"
            .to_vec();
        expected.extend_from_slice(&13_u64.to_le_bytes());
        expected.extend_from_slice(b"/a\nPRIORITY=7\nMOUNT_OBSERVER_PID=7\n");
        assert_eq!(encode(&entry), expected);
    }
}
