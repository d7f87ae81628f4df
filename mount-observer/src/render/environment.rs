//! A notice as environment variables of a command.

use std::collections::BTreeMap;

use super::escape::escaped;
use crate::notify::{Notice, rfc3339};

/// Longest value; the kernel takes 128 KiB (`MAX_ARG_STRLEN`, `include/uapi/linux/binfmts.h`).
const VALUE_BYTES_MAX: usize = 4 << 10;

/// `MOUNT_OBSERVER_*`: one line each, control characters spelled out.
pub fn variables(notice: &Notice) -> BTreeMap<String, String> {
    let superblock = notice.superblock.map(|id| id.to_string());
    let values = [
        ("STATUS", notice.status.name().to_owned()),
        ("KIND", notice.kind.name().to_owned()),
        ("SEVERITY", notice.severity.name().to_owned()),
        ("INCIDENT", notice.incident.to_string()),
        ("RETURNS", notice.returns.to_string()),
        ("DRILL", u8::from(notice.is_drill).to_string()),
        ("HOST", escaped(&notice.host)),
        ("LINE", notice.line.clone()),
        ("SUPERBLOCK", superblock.unwrap_or_default()),
        ("FSTYPE", escaped(&notice.fstype)),
        ("DEVICE", escaped(&notice.device)),
        ("MOUNTPOINT", escaped(&notice.mountpoint)),
        ("REASON", escaped(&notice.reason)),
        ("ADVICE", escaped(&notice.advice)),
        ("STARTED", rfc3339(notice.started)),
        ("AT", rfc3339(notice.at)),
        ("DURATION_SECONDS", notice.duration_seconds.to_string()),
    ];
    let named = values.into_iter().map(|(name, mut value)| {
        let end = value.floor_char_boundary(VALUE_BYTES_MAX);
        value.truncate(end);
        (format!("MOUNT_OBSERVER_{name}"), value)
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::Transition, notify::Origin, render::fixture, time::Wall};

    #[test]
    fn every_value_is_one_line() {
        let transition = Transition {
            mountpoint: format!("/mnt/a\nb{}", "x".repeat(5_000)),
            victims: Vec::new(),
            ..fixture::transition()
        };
        let mut notice = Notice::new(&Origin::default(), Wall(0), "", &transition);
        notice.line = "line".to_owned();
        let variables = variables(&notice);
        assert_eq!(variables["MOUNT_OBSERVER_KIND"], "hung");
        assert_eq!(variables["MOUNT_OBSERVER_DRILL"], "0");
        let mountpoint = &variables["MOUNT_OBSERVER_MOUNTPOINT"];
        assert!(mountpoint.starts_with("/mnt/a\\nbxx"), "{mountpoint}");
        assert_eq!(mountpoint.len(), VALUE_BYTES_MAX);
    }
}
