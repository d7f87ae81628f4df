//! What people and machines are shown: everything here is a function of a [`crate::snapshot`] or
//! of a transition, and reads nothing else.
//!
//! Names of files, processes and sources come from whoever mounts and runs them: whatever goes to
//! a terminal or a log passes [`escape::Escaped`] first.

pub mod alert_line;
pub mod alertmanager;
pub mod api;
pub mod check;
pub mod duration;
pub mod environment;
pub mod escape;
pub mod explain;
pub mod incidents;
pub mod metrics;
pub mod nagios;
pub mod status;
pub mod syslog;
pub mod trace;

#[cfg(test)]
pub(crate) mod fixture;
