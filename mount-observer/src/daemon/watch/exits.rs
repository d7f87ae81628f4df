//! The moments after a server's exit: its descriptors are closed after the process is seen to exit
//! (`exit_files` follows `sched_process_exit` in `do_exit`, `kernel/exit.c`), so its connections are
//! looked at again and again until they are found disconnected.

use std::time::Duration;

use tokio::time::Instant;

use crate::{daemon::engine::Engine, superblock::Dev};

/// The first look; each further one comes after twice the time.
const FIRST: Duration = Duration::from_millis(1);
/// Looks at 1, 2, 4, ... 64 ms; after that the regular checks go on.
const LOOKS_MAX: u32 = 7;
/// Connections followed at a time; those beyond wait for the regular check.
const FOLLOWED_MAX: usize = 4_096;

/// Connections that are being followed.
#[derive(Debug, Default)]
pub(super) struct Exits(Vec<Followed>);

#[derive(Debug)]
struct Followed {
    connection_ptr: u64,
    dev: Dev,
    due: Instant,
    looks: u32,
}

impl Exits {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When to look next; far away when there is nothing to follow.
    pub(super) fn next_due(&self) -> Instant {
        let next = self.0.iter().map(|followed| followed.due).min();
        next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1))
    }

    pub(super) fn add(&mut self, connections: &[(u64, Dev)]) {
        for &(connection_ptr, dev) in connections {
            let is_new = !self
                .0
                .iter()
                .any(|followed| followed.connection_ptr == connection_ptr);
            if is_new && self.0.len() < FOLLOWED_MAX {
                self.0.push(Followed {
                    connection_ptr,
                    dev,
                    due: Instant::now() + FIRST,
                    looks: 0,
                });
            }
        }
    }

    /// Looks at what is due, and goes on following what is still connected.
    pub(super) fn follow(&mut self, engine: &mut Engine) {
        let now = Instant::now();
        let due: Vec<Followed> = self
            .0
            .extract_if(.., |followed| followed.due <= now)
            .collect();
        let connections: Vec<(u64, Dev)> = due
            .iter()
            .map(|followed| (followed.connection_ptr, followed.dev))
            .collect();
        let are_connected = engine.check(&connections);
        for (mut followed, is_connected) in due.into_iter().zip(are_connected) {
            followed.looks += 1;
            if is_connected && followed.looks < LOOKS_MAX {
                followed.due = now + FIRST * (1 << followed.looks);
                self.0.push(followed);
            }
        }
    }
}
