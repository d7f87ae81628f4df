//! The table of every key: what it takes and what it does, for people.
//!
//! The commented default, docs/CONFIG.md and the messages about bad values all come from here; a
//! test holds it equal to the structs.

mod own;
mod sinks;

use self::{own::OWN, sinks::SINKS};

/// One key of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its table, without brackets.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it takes, in words that complete "must be ...".
    pub takes: &'static str,
    /// What it does.
    pub does: &'static str,
    /// The command line flag that overrides it.
    pub flag: Option<&'static str>,
}

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Its name, without brackets.
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) about: &'static str,
    /// Whether it is an array of tables: `[[name]]`, once for each of several.
    pub(super) is_repeated: bool,
}

impl Section {
    const fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            is_repeated: false,
        }
    }

    const fn repeated(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            is_repeated: true,
        }
    }

    /// `[name]`, or `[[name]]`.
    pub(super) fn header(&self) -> String {
        if self.is_repeated {
            format!("[[{}]]", self.name)
        } else {
            format!("[{}]", self.name)
        }
    }

    /// Its keys, in the order they are documented.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Key> + Clone {
        KEYS.iter().filter(|key| key.section == self.name)
    }

    /// The section of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        SECTIONS.iter().find(|section| section.name == name)
    }
}

/// The tables, in the order they are documented.
pub(super) const SECTIONS: &[Section] = &[
    Section::new("web", "The HTTP listener."),
    Section::new("log", "What is logged, and how."),
    Section::new("probes", "What is attached to the kernel."),
    Section::new("scope", "Which mounts are observed."),
    Section::new("expect", "Which mounts should be there."),
    Section::new("detect", "When something is wrong."),
    Section::new("storage", "Where incidents are remembered."),
    Section::new(
        "record",
        "The flight recorder: what led to an alert is saved as a recording, for `mount-observer replay`, \
         below `storage.path` in `recordings/`, by the incident's id.",
    ),
    Section::new(
        "recovery",
        "How careful a recovery is. Nothing is repaired without `[[recover]]`.",
    ),
    Section::repeated(
        "recover",
        "A mount that may be repaired; several are repaired in this order, one at a time.",
    ),
    Section::new(
        "confine",
        "What the daemon takes from itself once it has started.",
    ),
    Section::new("metrics", "How much is exported."),
    Section::repeated("syslog", "Told of alerts over syslog, one table for each."),
    Section::repeated(
        "alertmanager",
        "Told of alerts: an Alertmanager, or a cluster of them. It always gets the present state.",
    ),
    Section::repeated(
        "webhook",
        "Told of alerts by HTTP: chat services, incident management, programs of your own.",
    ),
    Section::repeated("exec", "Told of alerts: a program that is run for each."),
    Section::repeated("textfile", "The metrics as a file for node exporter."),
    Section::repeated("pushgateway", "The metrics for a Pushgateway."),
];

const DURATION: &str = "a duration such as \"500ms\", \"5s\" or \"2m\"";
const PATTERNS: &str =
    "a list of strings; `*` matches any characters, `?` one, `[ab]` one of a set";
const CONFINEMENT: &str = "one of \"auto\" (where possible; where not, it is said), \"required\" (or it does not start), \"off\"";
const COUNT: &str = "a whole number, 1 or more";

/// A key that no flag overrides.
const fn key(
    section: &'static str,
    name: &'static str,
    takes: &'static str,
    does: &'static str,
) -> Key {
    Key {
        section,
        name,
        takes,
        does,
        flag: None,
    }
}

impl Key {
    const fn or_flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// Every key, in the order they are documented.
pub const KEYS: &[Key] = &joined::<{ OWN.len() + SINKS.len() }>(OWN, SINKS);

const fn joined<const N: usize>(first: &[Key], second: &[Key]) -> [Key; N] {
    let mut keys = [key("", "", "", ""); N];
    let (start, end) = keys.split_at_mut(first.len());
    start.copy_from_slice(first);
    end.copy_from_slice(second);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_table_and_the_structs_have_the_same_keys() {
        let example = toml::Table::try_from(Config::example()).unwrap();
        let mut of_structs: Vec<String> = example
            .iter()
            .flat_map(|(section, keys)| {
                let first = keys.as_array().and_then(|all| all.first());
                let keys = first.unwrap_or(keys).as_table().unwrap().keys();
                keys.map(move |name| format!("{section}.{name}"))
            })
            .collect();
        let mut of_table: Vec<String> = KEYS.iter().map(Key::path).collect();
        of_structs.sort();
        of_table.sort();
        assert_eq!(of_table, of_structs);

        let sections: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
        let mut of_keys: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
        of_keys.dedup();
        assert_eq!(of_keys, sections);
    }
}
