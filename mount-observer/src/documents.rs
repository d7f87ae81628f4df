//! Files for the system around the observer, as `mount-observer print` gives them.

/// The systemd unit.
pub const SYSTEMD_UNIT: &str = include_str!("../assets/systemd/mount-observer.service");

/// What the unit needs on top where mounts are repaired.
pub const SYSTEMD_RECOVERY_DROPIN: &str = include_str!("../assets/systemd/recovery.conf");

/// Rules for Prometheus.
pub const ALERT_RULES: &str = include_str!("../assets/alert-rules.yml");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::render::metrics::METRICS;

    /// Every name of a metric in a text.
    fn metrics(text: &str) -> BTreeSet<&str> {
        text.split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("mount_observer_"))
            .collect()
    }

    #[test]
    fn the_rules_name_metrics_that_exist() {
        let named = metrics(ALERT_RULES);
        assert!(named.len() > 5, "{named:?}");
        for name in named {
            assert!(METRICS.iter().any(|metric| metric.name == name), "{name}");
        }
    }

    #[test]
    fn the_unit_makes_no_mount_namespace() {
        // `exec_needs_mount_namespace`, `src/core/execute.c`, systemd 257.
        let options = [
            "BindPaths",
            "BindReadOnlyPaths",
            "DynamicUser",
            "ExecPaths",
            "InaccessiblePaths",
            "MountFlags",
            "NoExecPaths",
            "PrivateDevices",
            "PrivateIPC",
            "PrivateMounts",
            "PrivateTmp",
            "ProcSubset",
            "ProtectControlGroups",
            "ProtectHome",
            "ProtectHostname",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "ProtectProc",
            "ProtectSystem",
            "ReadOnlyPaths",
            "ReadWritePaths",
            "RootDirectory",
            "TemporaryFileSystem",
        ];
        let set = SYSTEMD_UNIT.lines().filter_map(|line| line.split_once('='));
        let set: BTreeSet<_> = set.map(|(name, _)| name).collect();
        assert!(
            set.contains("Type") && set.contains("WatchdogSec"),
            "{set:?}"
        );
        assert!(
            options.iter().all(|option| !set.contains(option)),
            "{set:?}"
        );
    }
}
