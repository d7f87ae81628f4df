//! Sees dead, hung and slow mounts from inside the kernel, without ever touching one.
//!
//! The pure part decides everything: it decodes what the kernel side recorded, attributes it to
//! superblocks, detects, and keeps alerts. It reads no clock, file, environment or random source,
//! and builds without the `daemon` feature. The shell (`daemon`) only moves data in and out.

#![deny(unsafe_code)]

pub mod advice;
pub mod alert;
pub mod alerts;
pub mod blocked;
pub mod config;
pub mod connection;
pub mod counters;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod decode;
pub mod detect;
pub mod documents;
pub mod errno;
pub mod expected;
pub mod health;
pub mod incident;
pub mod input;
pub mod mountinfo;
pub mod mounts;
pub mod notify;
pub mod observer;
pub mod operation;
pub mod paths;
pub mod plan;
pub mod recording;
pub mod recovery;
pub mod render;
pub mod replay;
pub mod requests;
pub mod scope;
pub mod session;
pub mod sight;
pub mod snapshot;
pub mod superblock;
pub mod text;
pub mod time;
pub mod top;
pub mod totals;
pub mod trace;
pub mod units;
pub mod watched;
