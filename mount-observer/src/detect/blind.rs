//! Unknown: why the absence of a condition proves nothing.

use crate::watched::Service;

use super::{View, stall};

/// How well the observer sees, at one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether the ends of FUSE requests are seen.
    pub sees_requests: bool,
    /// Whether one connection can be asked for its state at any time.
    pub sees_connections: bool,
    /// Wanted probes that are not attached, and why, without which silence says nothing about FUSE.
    pub fuse_probes_missing: Vec<String>,
    /// Probes that would show it and rest, as long as no FUSE mount is there.
    pub fuse_probes_resting: Vec<&'static str>,
    /// The same about filesystems of the kernel's own.
    pub kernel_probes_missing: Vec<String>,
    /// What was lost lately.
    pub losses: Vec<String>,
    /// How the scans go.
    pub scans: Scans,
    /// Whether every process is in sight.
    pub sees_every_process: bool,
    /// Where what is read of FUSE's structures comes from.
    pub layout: Layout,
}

/// What FUSE's structures are read by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// The kernel describes them.
    #[default]
    Described,
    /// It does not; the layout assumed was found to fit.
    Fitting,
    /// It does not, and nothing read so far was found to be true.
    Doubtful,
}

/// How the scans of the kernel's tasks and files go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scans {
    /// The holders of `/dev/fuse` were never scanned from end to end.
    #[default]
    None,
    /// They were.
    Complete,
    /// The last ones ended early.
    Failing,
}

pub(super) fn judge(view: &View<'_>) -> Option<String> {
    let sight = view.sight;
    let missing = match view.superblock.service {
        Service::Fuse | Service::Virtiofs => &sight.fuse_probes_missing,
        Service::Kernel => &sight.kernel_probes_missing,
    };
    if !missing.is_empty() {
        return Some(format!("not attached: {}", missing.join(", ")));
    }
    let resting = &sight.fuse_probes_resting;
    if view.superblock.service != Service::Kernel && !resting.is_empty() {
        return Some(format!("not attached yet: {}", resting.join(", ")));
    }
    if !sight.losses.is_empty() {
        return Some(format!("lost lately: {}", sight.losses.join(", ")));
    }
    if sight.scans == Scans::Failing {
        return Some("the scans of the kernel's tasks and files end early".to_owned());
    }
    if view.is_single_look
        && let Some(reason) = stall::of_unknown_age(view)
    {
        return Some(reason);
    }
    if view.superblock.service == Service::Fuse {
        connection(view)
    } else {
        None
    }
}

fn connection(view: &View<'_>) -> Option<String> {
    let connection = &view.superblock.connection;
    if connection.is_unmounting() {
        Some("its last unmount is under way".to_owned())
    } else if connection.is_dying() {
        Some("the connection is gone; whether by an unmount is not known yet".to_owned())
    } else if connection.is_absent() {
        Some(if view.sight.sees_every_process {
            "nobody seems to hold the connection; to be confirmed".to_owned()
        } else {
            "its server is not in sight: it is gone, or runs in another pid namespace".to_owned()
        })
    } else if connection.address.is_none() && view.sight.layout == Layout::Doubtful {
        Some("the kernel does not describe FUSE's structures, and no connection fits it".to_owned())
    } else if connection.address.is_none() {
        Some(if view.sight.scans == Scans::Complete {
            "its server is being looked for".to_owned()
        } else {
            "not looked at yet".to_owned()
        })
    } else {
        stall::of_unknown_requests(view)
    }
}
