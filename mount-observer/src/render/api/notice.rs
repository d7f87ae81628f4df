//! The notice's part of docs/API.md: what sinks are told. A test holds the table equal to what is
//! serialised.

use super::Field;

/// What comes before the table.
pub(super) const ABOUT: &str = "\n## Notices\n\n\
    What a webhook is posted and a command reads from standard input, and what a template is filled from: one \
    change of one alert. A webhook takes it with 200 to 299; 408, 429, 5xx, silence and a connection that fails \
    are tried again after 1, 2, 4, ... 60 s until `give_up_after`, in order; anything else is `refused`. One that \
    was taken while the answer was lost comes twice, with the same `Idempotency-Key` header. With `secret_file`, \
    `X-Mount-Observer-Signature-256: sha256=<hex>` is the HMAC-SHA256 of the body. A command has the same in \
    `MOUNT_OBSERVER_STATUS`, `_KIND`, `_SEVERITY`, `_INCIDENT`, `_RETURNS`, `_DRILL` (0 or 1), `_HOST`, `_LINE`, \
    `_SUPERBLOCK`, `_FSTYPE`, `_DEVICE`, `_MOUNTPOINT`, `_REASON`, `_ADVICE`, `_STARTED`, `_AT` and \
    `_DURATION_SECONDS`: one line each, with control characters spelled out.\n\n\
    A notice that fires is sent again when its severity rises, and after a restart of the observer (its incident \
    is the same). Who was told that an alert fires is told that it ended, unless another kind took over that is \
    told too. Syslog gets `line` behind `Mount failed health-check: MOUNTPOINT: `, with the fields as structured \
    data, and `summary` as a message of its own.\n\n\
    Alertmanager gets the labels `alertname` (`MountDead`, `MountHung`, `MountStuck`, `MountErroring`, `MountSlow`, \
    `MountMissing`, `MountShadowWrites`, `MountRecoveryFailed`), `severity`, `instance`, `superblock` (without \
    `#n`), `mountpoint`, `fstype`, `device`, for a rehearsal `drill=\"true\"`, and those of the configuration; the \
    annotations `summary` (`line`), `description`, `advice`, `incident`, `mount_points` and `returns`; and no \
    `endsAt` while it fires.\n\n\
    | field | type | meaning |\n|---|---|---|\n";

/// Of each notice.
pub(super) const FIELDS: &[Field] = &[
    ("version", "integer", "of this form: 1"),
    ("status", "string", "`firing` or `resolved`"),
    (
        "kind",
        "string",
        "`slow`, `erroring`, `stuck`, `recovery`, `hung`, `missing`, `dead` or `shadow_writes`",
    ),
    ("severity", "string", "`warning` or `critical`"),
    (
        "incident",
        "string",
        "the incident, the same whatever kinds of alert it goes through",
    ),
    (
        "returns",
        "integer",
        "how often it ended and came back soon after",
    ),
    (
        "is_drill",
        "boolean",
        "whether it is a rehearsal: nothing happened",
    ),
    ("host", "string", "the machine's name"),
    (
        "line",
        "string",
        "everything in one line, without control characters",
    ),
    ("summary", "string", "`Checked 42 mounts; 1 is dead`"),
    (
        "superblock",
        "string?",
        "its id; null for a mount that is not there",
    ),
    ("fstype", "string", "filesystem type"),
    ("device", "string", "mountinfo's source field"),
    ("mountpoint", "string", "the shortest mount point"),
    ("mount_points[]", "string", "each mount point"),
    ("reason", "string", "what is wrong, one sentence"),
    ("evidence[]", "string", "facts behind it"),
    (
        "victims[]",
        "object",
        "blocked or failing processes, worst first, cut",
    ),
    ("victims[].pid", "integer", "process"),
    ("victims[].tid", "integer", "thread"),
    ("victims[].comm", "string", "its name"),
    (
        "victims[].operation",
        "string?",
        "what it waits for, or failed at",
    ),
    ("victims[].age_ns", "integer?", "how long it has waited"),
    ("victims[].errno", "string?", "what its last failure was"),
    (
        "victims[].path",
        "string?",
        "the path it gave, where that was seen",
    ),
    ("victims_total", "integer", "all of them"),
    ("advice", "string", "what to do about it"),
    ("started", "string", "when the condition began (RFC 3339)"),
    ("at", "string", "when it changed (RFC 3339)"),
    ("duration_seconds", "number", "how long it has lasted"),
    (
        "resolution",
        "string?",
        "why it ended: `recovered`, `unmounted`, `replaced`, `superseded` or `excluded`",
    ),
    ("successor", "string?", "the kind of alert that took over"),
    (
        "caused_by[]",
        "string",
        "superblocks below that are to blame",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        notify::{Notice, Origin},
        render::{api::tests::places, fixture},
        time::Wall,
    };

    #[test]
    fn the_table_names_every_place_of_a_notice_and_no_other() {
        let transition = fixture::transition();
        let notice = Notice::new(&Origin::default(), Wall(0), "", &transition);
        let mut found = BTreeSet::new();
        places(&serde_json::to_value(&notice).unwrap(), "", &mut found);
        let documented = FIELDS.iter().map(|(path, _, _)| (*path).to_owned());
        assert_eq!(documented.collect::<BTreeSet<_>>(), found);
    }
}
