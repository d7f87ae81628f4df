//! One event with its fields, and its two line forms.

use std::{
    fmt::Debug,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use super::ALERT_TARGET;
use crate::{render::escape::escaped, text::append, time::Wall};

/// An event, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) at: Wall,
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Entry {
    pub(super) fn of(event: &Event<'_>, at: Wall) -> Self {
        let mut entry = Self {
            at,
            level: *event.metadata().level(),
            target: event.metadata().target(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut entry);
        entry
    }

    /// `2026-11-21T09:40:01.123Z WARN  message key=value`.
    pub(super) fn text(&self, is_coloured: bool) -> Vec<u8> {
        let (colour, plain) = match self.level {
            _ if !is_coloured => ("", ""),
            Level::ERROR => ("\x1b[1;31m", "\x1b[0m"),
            Level::WARN => ("\x1b[33m", "\x1b[0m"),
            _ => ("\x1b[2m", "\x1b[0m"),
        };
        let (time, level, said) = (self.time(), self.level, self.said());
        format!("{time} {colour}{level:<5}{plain} {said}\n").into_bytes()
    }

    /// The message with its fields; of an alert only the message, which says all of it.
    pub(super) fn said(&self) -> String {
        let mut said = escaped(&self.message);
        if self.target != ALERT_TARGET {
            for (name, value) in &self.fields {
                append(&mut said, format_args!(" {name}={}", logfmt(value)));
            }
        }
        said
    }

    /// One JSON object with the fields beside `time`, `level`, `target` and `message`.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut object = Map::new();
        object.insert("time".to_owned(), json!(self.time()));
        object.insert(
            "level".to_owned(),
            json!(self.level.as_str().to_lowercase()),
        );
        object.insert("target".to_owned(), json!(self.target));
        object.insert("message".to_owned(), json!(self.message));
        for (name, value) in &self.fields {
            object.insert((*name).to_owned(), value.clone());
        }
        let mut line = Value::Object(object).to_string().into_bytes();
        line.push(b'\n');
        line
    }

    fn time(&self) -> String {
        let at = UNIX_EPOCH + Duration::from_nanos(self.at.0);
        humantime::format_rfc3339_millis(at).to_string()
    }

    fn take(&mut self, field: &Field, value: Value) {
        // Fields of the bridge from the `log` crate repeat what the metadata says.
        if !field.name().starts_with("log.") {
            self.fields.push((field.name(), value));
        }
    }
}

/// A value on one line, quoted where a blank or a quote would end it.
fn logfmt(value: &Value) -> String {
    let Value::String(text) = value else {
        return value.to_string();
    };
    let text = escaped(text);
    if text.is_empty() || text.contains([' ', '"', '=']) {
        format!("\"{}\"", text.replace('"', "\\\""))
    } else {
        text
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.take(field, json!(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.take(field, json!(value));
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            at: Wall(1_767_323_045_006_000_000),
            level: Level::WARN,
            target: "mount_observer::daemon",
            message: "cannot read\nmountinfo".to_owned(),
            fields: vec![
                ("namespace", json!(4_026_531_841_u32)),
                ("comm", json!("evil\" \u{1b}[2J\n")),
                ("path", json!("/proc/1/mountinfo")),
            ],
        }
    }

    #[test]
    fn a_text_line_cannot_be_forged() {
        assert_eq!(
            String::from_utf8(entry().text(false)).unwrap(),
            "2026-01-02T03:04:05.006Z WARN  cannot read\\nmountinfo namespace=4026531841 \
             comm=\"evil\\\" \\x1b[2J\\n\" path=/proc/1/mountinfo\n"
        );
    }

    #[test]
    fn an_alert_is_its_message() {
        let alert = Entry {
            target: ALERT_TARGET,
            message: "CRITICAL dead /mnt/a".to_owned(),
            ..entry()
        };
        assert_eq!(
            String::from_utf8(alert.text(true)).unwrap(),
            "2026-01-02T03:04:05.006Z \u{1b}[33mWARN \u{1b}[0m CRITICAL dead /mnt/a\n"
        );
    }

    #[test]
    fn a_json_line_keeps_types_and_text() {
        let line = entry().json();
        assert_eq!(line.split(|&byte| byte == b'\n').count(), 2);
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["level"], "warn");
        assert_eq!(value["message"], "cannot read\nmountinfo");
        assert_eq!(value["namespace"], 4_026_531_841_u32);
        assert_eq!(value["comm"], "evil\" \u{1b}[2J\n");
    }
}
