//! What `check` found, as text for people; as JSON it is this structure.

use serde::Serialize;

use super::escape::Escaped;
use crate::{
    input::ProbeHealth,
    sight::{self, Attached, NotSeen},
    text::append,
};

/// Everything `check` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Kernel release.
    pub kernel: String,
    /// What the kernel offers: name, and whether it is there.
    pub facts: Vec<(String, String)>,
    /// Privileges and mounts, with the remedy where one is missing.
    pub needs: Vec<Need>,
    /// How path syscalls are observed.
    pub statx: String,
    /// Why so.
    pub statx_reason: String,
    /// What became of each probe when it was tried.
    pub probes: Vec<ProbeReport>,
    /// Where each program is that could be attached.
    pub attached: Vec<Place>,
    /// From the first look at the kernel until everything was attached, in ms.
    pub start_ms: u64,
    /// What the probes that could not be attached would show.
    pub not_seen: Vec<NotSeen>,
    /// Why nothing could be tried at all.
    pub failure: Option<String>,
}

/// Something the observer needs from its surroundings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Its name: `CAP_BPF`, `tracefs`.
    pub name: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// Whether it is there.
    pub is_met: bool,
    /// What to do when it is not.
    pub remedy: &'static str,
}

/// One probe, tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeReport {
    /// Its name.
    pub probe: &'static str,
    /// How it attached; `None` when it did not.
    pub kind: Option<&'static str>,
    /// Whether the configuration asks for it.
    pub is_wanted: bool,
    /// Why this way, and why not another.
    pub reason: String,
    /// What it does not show in this way; told with what is not seen.
    #[serde(skip)]
    pub lacks: Option<&'static str>,
}

/// Where the program of a probe is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The probe.
    pub probe: &'static str,
    /// How it attached.
    pub kind: &'static str,
    /// The program's name in the eBPF object.
    pub program: &'static str,
    /// The kernel function, the tracepoint or the iterator's target.
    pub target: &'static str,
    /// The module the function belongs to.
    pub module: Option<String>,
    /// Instructions the verifier went through; not known before 5.16.
    pub verified_instructions: Option<u32>,
}

impl From<&ProbeHealth> for ProbeReport {
    fn from(health: &ProbeHealth) -> Self {
        Self {
            probe: health.probe,
            kind: health.kind,
            is_wanted: health.is_wanted,
            reason: health.reason.clone(),
            lacks: health.lacks,
        }
    }
}

/// What these probes do not show.
pub fn not_seen(probes: &[ProbeReport]) -> Vec<NotSeen> {
    let view = |probe: &ProbeReport| Attached {
        probe: probe.probe,
        is_wanted: probe.is_wanted,
        is_attached: probe.kind.is_some(),
        lacks: probe.lacks,
    };
    sight::not_seen(&probes.iter().map(view).collect::<Vec<_>>())
}

impl ProbeReport {
    /// How it is marked.
    fn mark(&self) -> &'static str {
        match (self.kind, self.is_wanted) {
            (Some(kind), _) => kind,
            (None, false) => "off",
            (None, true) if self.is_missing() => "MISSING",
            (None, true) => "none",
        }
    }

    /// Whether silence says nothing without it. What only a detail is lost with is no fault of the
    /// machine's: its kernel has no more to offer.
    fn is_missing(&self) -> bool {
        self.is_wanted && self.kind.is_none() && sight::blinds(self.probe).anything()
    }
}

impl CheckReport {
    /// Whether anything is missing.
    pub fn is_degraded(&self) -> bool {
        self.failure.is_some()
            || self.needs.iter().any(|need| !need.is_met)
            || self.probes.iter().any(ProbeReport::is_missing)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!("kernel {}\n", Escaped(&self.kernel));
        for (name, value) in &self.facts {
            append(&mut out, format_args!("  {name}: {}\n", Escaped(value)));
        }
        append(&mut out, format_args!("\nprivileges and mounts\n"));
        for (index, need) in self.needs.iter().enumerate() {
            let mark = if need.is_met { "ok     " } else { "MISSING" };
            append(
                &mut out,
                format_args!("  {mark}  {:<20} {}\n", need.name, need.purpose),
            );
            let is_repeated = (self.needs.iter().skip(index + 1))
                .any(|later| !later.is_met && later.remedy == need.remedy);
            if !need.is_met && !is_repeated {
                append(
                    &mut out,
                    format_args!("           remedy: {}\n", need.remedy),
                );
            }
        }
        append(
            &mut out,
            format_args!(
                "\nplan\n  path system calls: {} ({})\n",
                self.statx, self.statx_reason
            ),
        );
        for probe in &self.probes {
            append(
                &mut out,
                format_args!(
                    "  {:<8} {:<17} {}\n",
                    probe.mark(),
                    probe.probe,
                    Escaped(&probe.reason)
                ),
            );
        }
        if !self.not_seen.is_empty() {
            append(&mut out, format_args!("\nnot seen here\n"));
        }
        for missed in &self.not_seen {
            append(
                &mut out,
                format_args!("  {} (no {})\n", missed.what, missed.probe),
            );
        }
        if let Some(failure) = &self.failure {
            append(
                &mut out,
                format_args!("\nnothing can be attached: {}\n", Escaped(failure)),
            );
        }
        let verdict = match (self.is_degraded(), self.not_seen.is_empty()) {
            (true, false) => "degraded: what is marked MISSING; not seen is what is listed above",
            (true, true) => "degraded: what is marked MISSING",
            (false, false) => {
                "nothing is missing here; what is listed above, this kernel does not show"
            }
            (false, true) => "all is there",
        };
        append(&mut out, format_args!("\n{verdict}\n"));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> CheckReport {
        CheckReport {
            kernel: "6.18.44".to_owned(),
            facts: vec![("lockdown".to_owned(), "none".to_owned())],
            needs: vec![
                Need {
                    name: "CAP_BPF",
                    purpose: "load eBPF programs",
                    is_met: true,
                    remedy: "run as root",
                },
                Need {
                    name: "tracefs",
                    purpose: "find tracepoints",
                    is_met: false,
                    remedy: "mount -t tracefs tracefs /sys/kernel/tracing",
                },
            ],
            statx: "errors".to_owned(),
            statx_reason: "auto".to_owned(),
            probes: vec![
                ProbeReport {
                    lacks: None,
                    probe: "fuse_send",
                    kind: Some("tp_btf"),
                    is_wanted: true,
                    reason: "typed arguments".to_owned(),
                },
                ProbeReport {
                    lacks: None,
                    probe: "path_enter",
                    kind: None,
                    is_wanted: false,
                    reason: "not asked for".to_owned(),
                },
                ProbeReport {
                    lacks: None,
                    probe: "fuse_return",
                    kind: None,
                    is_wanted: true,
                    reason: "fexit: refused".to_owned(),
                },
            ],
            not_seen: vec![NotSeen {
                probe: "fuse_return",
                what: "requests that are refused",
            }],
            failure: None,
            ..CheckReport::default()
        }
    }

    #[test]
    fn every_lack_comes_with_its_remedy() {
        insta::assert_snapshot!(report().text());
    }

    #[test]
    fn a_remedy_of_several_lacks_is_said_once() {
        let mut report = report();
        for need in &mut report.needs {
            need.is_met = false;
            need.remedy = "run as root";
        }
        let text = report.text();
        assert_eq!(text.matches("MISSING  ").count(), 2, "{text}");
        assert_eq!(text.matches("remedy: run as root\n").count(), 1, "{text}");
    }

    #[test]
    fn degraded_is_a_missing_need_a_missing_probe_or_a_failure() {
        let mut whole = report();
        assert!(whole.is_degraded());
        whole.needs[1].is_met = true;
        assert!(!whole.is_degraded(), "a probe that is off is no loss");
        whole.probes[1].is_wanted = true;
        assert!(whole.is_degraded());
        whole.probes.clear();
        whole.failure = Some("refused".to_owned());
        assert!(whole.is_degraded());
    }
}
