//! A transition as one line for a person who is woken by it.

use super::{duration::Age, escape::Escaped};
use crate::{
    alert::{Change, Resolution, Severity, Transition, Victim},
    text::{self, append, shell_quoted},
};

/// Victims named in a line; the rest are counted.
const VICTIMS_IN_LINE: usize = 5;

/// Younger conditions are as good as new, ns.
const AGE_SAID_MIN_NS: u64 = 1_000_000_000;

/// Everything needed to act, in one line without control characters.
pub fn alert_line(transition: &Transition) -> String {
    let mut line = headline(transition);
    append(
        &mut line,
        format_args!(
            " {} ({} {}, from {})",
            Escaped(&place(transition)),
            superblock(transition),
            Escaped(&transition.fstype),
            Escaped(&transition.device),
        ),
    );
    let (age, reason) = (Age(transition.age_ns), Escaped(&transition.reason));
    if matches!(transition.change, Change::Resolved { .. }) {
        append(&mut line, format_args!(" after {age}; was: {reason}"));
        return line;
    }
    append(&mut line, format_args!(": {reason}"));
    if transition.age_ns >= AGE_SAID_MIN_NS {
        append(&mut line, format_args!("; for {age}"));
    }
    let victims = victims(&transition.victims, transition.victims_total);
    if !victims.is_empty() {
        append(&mut line, format_args!("; affected: {victims}"));
    }
    if !transition.advice.is_empty() {
        append(
            &mut line,
            format_args!("; to do: {}", Escaped(&transition.advice)),
        );
    }
    line
}

/// The mount point as one word of a shell, with its namespace where that is not the observer's.
fn place(transition: &Transition) -> String {
    let point = shell_quoted(&text::escaped(transition.mountpoint.as_bytes()));
    match transition.namespace {
        Some(namespace) => format!("{point} in mnt:[{namespace}]"),
        None => point,
    }
}

/// `0:52`, where there is a superblock.
pub fn superblock(transition: &Transition) -> String {
    let id = transition.superblock.map(|id| id.to_string());
    id.unwrap_or_else(|| "not mounted".to_owned())
}

/// What happened, before what it happened to.
fn headline(transition: &Transition) -> String {
    let kind = transition.kind.name();
    match transition.change {
        Change::Firing => {
            let severity = match transition.severity {
                Severity::Warning => "WARNING",
                Severity::Critical => "CRITICAL",
            };
            format!("{severity} {kind}")
        }
        Change::Resolved { why } => match transition.successor {
            Some(next) => format!("SUPERSEDED {kind} (now {})", next.name()),
            None => format!("RESOLVED {kind} ({})", resolution(why)),
        },
    }
}

/// Why an alert ended, for people.
pub fn resolution(why: Resolution) -> &'static str {
    match why {
        Resolution::Recovered => "recovered",
        Resolution::Unmounted => "gone, unmounted",
        Resolution::Replaced => "replaced by another mount",
        Resolution::Superseded => "another state now",
        Resolution::Excluded => "no longer observed",
        Resolution::Unobserved => "over while nobody watched",
    }
}

/// `stat[12] LOOKUP 6.2 s, ls[13] and 40 more`.
pub fn victims(victims: &[Victim], total: u64) -> String {
    let mut text = victims
        .iter()
        .take(VICTIMS_IN_LINE)
        .map(victim)
        .collect::<Vec<_>>()
        .join(", ");
    let shown = u64::try_from(victims.len().min(VICTIMS_IN_LINE)).unwrap_or(u64::MAX);
    let more = total.saturating_sub(shown);
    if more > 0 && shown > 0 {
        append(&mut text, format_args!(" and {more} more"));
    }
    text
}

/// `stat[12] LOOKUP 6.2 s`; the thread is named where it is not the process's first.
pub fn victim(victim: &Victim) -> String {
    let mut text = format!("{}[{}]", Escaped(&victim.comm), victim.pid);
    if victim.tid != victim.pid && victim.tid != 0 {
        append(&mut text, format_args!("/{}", victim.tid));
    }
    if let Some(operation) = &victim.operation {
        append(&mut text, format_args!(" {}", Escaped(operation)));
    }
    if let Some(errno) = &victim.errno {
        append(&mut text, format_args!(" {}", Escaped(errno)));
    }
    if let Some(path) = &victim.path {
        append(&mut text, format_args!(" on {}", Escaped(path)));
    }
    if let Some(age_ns) = victim.age_ns {
        append(&mut text, format_args!(" {}", Age(age_ns)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::AlertKind, render::fixture};

    #[test]
    fn a_line_names_state_place_reason_age_victims_and_what_to_do() {
        let firing = fixture::transition();
        let resolved = Transition {
            change: Change::Resolved {
                why: Resolution::Unmounted,
            },
            ..firing.clone()
        };
        let alone = Transition {
            victims: Vec::new(),
            victims_total: 0,
            severity: Severity::Warning,
            kind: AlertKind::Stuck,
            mountpoint: "/mnt/evil\n0 are dead\u{1b}[2J".to_owned(),
            ..firing.clone()
        };
        let superseded = Transition {
            change: Change::Resolved {
                why: Resolution::Superseded,
            },
            successor: Some(AlertKind::Dead),
            ..firing.clone()
        };
        let new_and_elsewhere = Transition {
            mountpoint: "/mnt/it's a".to_owned(),
            namespace: Some(4_026_532_001),
            age_ns: 999_999_999,
            ..alone.clone()
        };
        insta::assert_snapshot!(
            [firing, resolved, alone, superseded, new_and_elsewhere]
                .map(|transition| alert_line(&transition))
                .join("\n")
        );
    }
}
