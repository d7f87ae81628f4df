//! `[confine]`: what the daemon takes from itself once it has started.

use serde::{Deserialize, Serialize};

/// `[confine]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Confine {
    /// A mount table of its own, without what is observed.
    pub mounts: Confinement,
    /// Nothing is opened but what it needs.
    pub landlock: Confinement,
}

/// Whether a privilege is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confinement {
    /// Where that is possible; where not, it is said.
    #[default]
    Auto,
    /// Or the daemon does not start.
    Required,
    /// No.
    Off,
}
