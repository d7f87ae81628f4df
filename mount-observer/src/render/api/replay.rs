//! What `mount-observer replay --json` says.

use super::Field;

pub(super) const ABOUT: &str = "\n## replay --json\n\n\
     One JSON object per line; `type` says what it is. Lines of a trace and alerts are those of \
     `mount-observer trace --json`, alerts also where the recording is of a watch. Times are those of the \
     recording. Objects and fields may be added.\n\n\
     | `type` | meaning |\n|---|---|\n\
     | `alert`, `operation`, `lost`, `summary` | as a trace says it |\n\
     | `not_recorded` | at `unix_ns`, `inputs` inputs are missing in the recording: the recorder did not keep up |\n\
     | `incident` | at the end, one for each: `incident` as at /api/v1/incidents/ID |\n\
     | `snapshot` | at the end: `snapshot` as at /api/v1/snapshot |\n\
     | `recording` | with `--info`, and instead of all others: what the recording is |\n\
     | `end` | always the last: how far it was read |\n\n\
     | field | type | meaning |\n|---|---|---|\n";

pub(super) const FIELDS: &[Field] = &[
    ("end.entries", "number", "entries that were read"),
    (
        "end.lost",
        "number",
        "inputs that the recorder did not record",
    ),
    (
        "end.unknown",
        "number",
        "entries of a later version, which were left out",
    ),
    ("end.bytes", "number", "bytes of the file that were good"),
    (
        "end.state",
        "string",
        "`whole`; `cut`: it only ends too early; `damaged`",
    ),
    (
        "end.damage",
        "object?",
        "where that was found (`offset`, bytes) and `what`",
    ),
    ("recording.format", "number", "version of the format"),
    (
        "recording.program",
        "string",
        "version of the program that recorded",
    ),
    ("recording.release", "string?", "its kernel"),
    (
        "recording.boot_id",
        "string",
        "the boot in which device numbers and the monotonic clock mean something",
    ),
    (
        "recording.started_unix_ns",
        "number",
        "when recording began, ns since the Unix epoch",
    ),
    ("recording.is_trace", "bool", "whether it is of a trace"),
    (
        "recording.first_unix_ns",
        "number?",
        "the first input it holds; a ring has lost earlier ones",
    ),
    ("recording.last_unix_ns", "number?", "the last"),
    (
        "recording.counts",
        "object",
        "inputs by kind, with those that stood before the first",
    ),
];
