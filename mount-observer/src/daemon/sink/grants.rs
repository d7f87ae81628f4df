//! What sinks open once the observer is confined.

use std::path::Path;

use crate::{config::Config, daemon::confine::Grant};

/// What resolving a name reads: settings, the libraries that do it (nsswitch.conf(5)), and what makes
/// `/etc/resolv.conf` a link. Files there are replaced, so it is their directories.
const RESOLVER: [&str; 8] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
];

/// Where `/dev/log` leads under systemd (systemd-journald.service(8)).
const JOURNALD: &str = "/run/systemd/journal";

/// The directories of a configuration's sinks.
pub(in crate::daemon) fn grants(config: &Config) -> Vec<Grant> {
    let mut grants = Vec::new();
    let is_remote = |address: &str| !address.starts_with('/');
    for sink in &config.syslog {
        if let Some(directory) = Path::new(&sink.address)
            .parent()
            .filter(|_| !is_remote(&sink.address))
        {
            grants.extend([Grant::read(directory), Grant::read(JOURNALD)]);
        }
    }
    for sink in &config.textfile {
        grants.push(Grant::write_into(&sink.directory));
    }
    let resolves = config.syslog.iter().any(|sink| is_remote(&sink.address))
        || !config.alertmanager.is_empty()
        || !config.webhook.is_empty()
        || !config.pushgateway.is_empty();
    if resolves {
        grants.extend(RESOLVER.map(Grant::read));
    }
    grants
}
