//! Where FUSE is, and its layout where nothing describes it.

use std::fs;

use crate::plan::{Fuse, Owner};

/// The struct whose owner is FUSE's.
pub(super) const MARK: &str = "fuse_conn";

/// Where FUSE is, by who describes its connection.
pub(super) fn presence(described_by: Option<&Owner>) -> Fuse {
    match described_by {
        Some(None) => Fuse::BuiltIn,
        Some(Some(_)) => Fuse::Module,
        None if is_loaded() => Fuse::BareModule,
        None => Fuse::Absent,
    }
}

/// Whether FUSE is loaded as a module. Sysfs is never a mount that is watched.
pub(super) fn is_loaded() -> bool {
    fs::read_to_string("/sys/module/fuse/initstate").is_ok_and(|state| state.trim() == "live")
}
