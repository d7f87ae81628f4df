//! What the tests on real mounts are made of: a private mount namespace per test, file systems that
//! break on command, callers that get stuck on them, and the real observer watched from outside.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper panics where it fails, so that the stack shows where"
)]

pub mod faultfs;
pub mod http;
pub mod mounts;
pub mod needs;
pub mod nfs;
pub mod observer;
pub mod process;
pub mod receivers;
pub mod recording;
pub mod sandbox;
pub mod scene;
pub mod tmux;
pub mod trace;
pub mod victim;
pub mod wait;

pub use mounts::{FaultFsMount, FuseMount, SshfsMount};
pub use needs::Need;
pub use observer::Observer;
pub use process::Process;
pub use sandbox::{Sandbox, host_test};
