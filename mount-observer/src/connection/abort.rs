//! What the program at the function that ends connections saw: how one ended, and by whom.

use std::time::Duration;

use mount_observer_common::AbortCause;

use crate::{decode::Abort, time::Mono};

/// From the entry of the function to when the connection reads as gone, at most; one that still
/// lives after that was not the one that ended. The record wakes us, and on one busy processor we may
/// look many times before whoever aborts goes on.
const TAKES_AT_MOST: Duration = Duration::from_secs(2);

impl Abort {
    /// Whether the last unmount ended the connection, as it should.
    pub fn is_unmount(&self) -> bool {
        self.cause == AbortCause::Unmount
    }

    /// Whether a connection that was read as alive then is another.
    pub(super) fn is_refuted_at(&self, read_at: Mono) -> bool {
        read_at.since(self.at) >= TAKES_AT_MOST
    }

    /// The name of the cause in the snapshot.
    pub fn cause_name(&self) -> &'static str {
        match self.cause {
            AbortCause::Unknown => "unknown",
            AbortCause::ServerExit => "server_exit",
            AbortCause::Fusectl => "fusectl",
            AbortCause::ForcedUnmount => "forced_unmount",
            AbortCause::Timeout => "timeout",
            AbortCause::Unmount => "unmount",
        }
    }

    /// How it ended, in words.
    pub fn text(&self) -> String {
        let by = format!("{}[{}]", self.by.comm, self.by.pid);
        match self.cause {
            AbortCause::Unknown => format!("ended by {by}, in a way that is not known"),
            AbortCause::ServerExit => format!("{by} closed its last /dev/fuse"),
            AbortCause::Fusectl => format!("aborted through fusectl by {by}"),
            AbortCause::ForcedUnmount => format!("aborted by a forced unmount, by {by}"),
            AbortCause::Timeout => {
                "aborted by the kernel, because a request outlived its timeout".to_owned()
            }
            AbortCause::Unmount => format!("ended by its last unmount, by {by}"),
        }
    }
}
