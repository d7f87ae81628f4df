//! What still stands of what was said: of inputs that replace the former of their kind, the last.
//!
//! A recording that lost its beginning starts with it, so that it is decided as if the whole were there.

use std::{collections::BTreeMap, time::Duration};

use super::Said;
use crate::{
    input::Input,
    time::{Mono, Now, Wall},
};

/// Processes whose control groups are kept.
const UNITS_MAX: usize = 1_024;

/// Functions whose names are kept.
const NAMES_MAX: usize = 4_096;

/// How long before anything else the counters are said: they are where counting began, not what
/// happened then, and no window must take them for news.
const LONG_BEFORE: Duration = Duration::from_hours(24);

/// What replaces what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Totals,
    Health,
    Config,
    InFlight,
    Holders,
    Tasks { is_full: bool },
    ShadowWrites,
    Table(u32),
    Namespaces,
    Waiting,
    WaitFunctions,
    Names,
    TraceGroups,
    Units,
    Unseen(&'static str),
    Layout,
    RecoveryEnabled,
    RecoveryRuns,
    Remembered,
    Sysctls,
    Trouble(&'static str),
}

/// What stands.
#[derive(Debug, Default)]
pub struct Standing {
    /// With the time it was said, and its number, which gives the order.
    known: BTreeMap<Key, (u64, Now, Said)>,
    said: u64,
}

impl Standing {
    /// Takes what was said.
    pub fn take(&mut self, now: Now, said: Said) {
        let Some(key) = key(&said) else { return };
        let said = match said {
            Said::Input(Input::Units(answers)) => {
                let before = match self.known.remove(&Key::Units) {
                    Some((_, _, Said::Input(Input::Units(before)))) => before,
                    _ => Vec::new(),
                };
                Said::Input(Input::Units(merged(before, answers, UNITS_MAX)))
            }
            Said::Input(Input::Names(names)) => {
                let before = match self.known.remove(&Key::Names) {
                    Some((_, _, Said::Input(Input::Names(before)))) => before,
                    _ => Vec::new(),
                };
                Said::Input(Input::Names(merged(before, names, NAMES_MAX)))
            }
            said @ (Said::Input(_) | Said::Reconfigure(_) | Said::Lost(_)) => said,
        };
        if let Said::Input(Input::Namespaces(existing)) = &said {
            let is_there = |mnt_ns: &u32| existing.contains(mnt_ns);
            self.known
                .retain(|key, _| !matches!(key, Key::Table(mnt_ns) if !is_there(mnt_ns)));
        }
        self.said += 1;
        self.known.insert(key, (self.said, now, said));
    }

    /// All of it in the order in which it was said; the counters first.
    pub fn all(&self) -> Vec<(Now, &Said)> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_by_key(|(key, (number, _, _))| (!is_count(key), *number));
        let first = all.iter().map(|(_, (_, now, _))| *now);
        let first = long_before(first.min_by_key(|now| now.mono).unwrap_or_default());
        let all = all.into_iter().map(|(key, (_, now, said))| {
            let now = if is_count(key) { first } else { *now };
            (now, said)
        });
        all.collect()
    }
}

/// What was known before, and what is known now: the latest so many.
fn merged<K: PartialEq, V>(before: Vec<(K, V)>, now: Vec<(K, V)>, max: usize) -> Vec<(K, V)> {
    let is_new = |key: &K| now.iter().any(|(known, _)| known == key);
    let mut all: Vec<_> = before.into_iter().filter(|(key, _)| !is_new(key)).collect();
    all.extend(now);
    all.drain(..all.len().saturating_sub(max));
    all
}

/// Counters since attach.
fn is_count(key: &Key) -> bool {
    matches!(key, Key::Totals | Key::Health | Key::ShadowWrites)
}

fn long_before(now: Now) -> Now {
    let ago = u64::try_from(LONG_BEFORE.as_nanos()).unwrap_or(u64::MAX);
    let ago = ago.min(now.mono.0);
    Now {
        mono: Mono(now.mono.0 - ago),
        wall: Wall(now.wall.0.saturating_sub(ago)),
    }
}

/// What an input replaces; `None` of one that is an event.
fn key(said: &Said) -> Option<Key> {
    let input = match said {
        Said::Input(input) => input,
        Said::Reconfigure(_) => return Some(Key::Config),
        Said::Lost(_) => return None,
    };
    Some(match input {
        Input::Totals(_) => Key::Totals,
        Input::InFlight(_) => Key::InFlight,
        Input::Holders(_) => Key::Holders,
        Input::Tasks { is_full, .. } => Key::Tasks { is_full: *is_full },
        Input::ShadowWrites(_) => Key::ShadowWrites,
        Input::Mountinfo { mnt_ns, .. } => Key::Table(*mnt_ns),
        Input::Namespaces(_) => Key::Namespaces,
        Input::Waiting(_) => Key::Waiting,
        Input::WaitFunctions(_) => Key::WaitFunctions,
        Input::Names(_) => Key::Names,
        Input::TraceGroups(_) => Key::TraceGroups,
        Input::Units(_) => Key::Units,
        Input::Health(_) => Key::Health,
        Input::Unseen { what, .. } => Key::Unseen(what),
        Input::Layout { .. } => Key::Layout,
        Input::RecoveryEnabled(_) => Key::RecoveryEnabled,
        Input::RecoveryRuns(_) => Key::RecoveryRuns,
        Input::Remembered(_) => Key::Remembered,
        Input::Sysctls(_) => Key::Sysctls,
        Input::Trouble { part, .. } => Key::Trouble(part),
        Input::Record(_)
        | Input::Files { .. }
        | Input::Connection(_)
        | Input::Links(_)
        | Input::RecoveryDone { .. }
        | Input::Tick => return None,
    })
}
