//! Tasks that wait for a filesystem, from scans over all tasks.
//!
//! Seen asleep twice is not blocked: a busy task sleeps at every look. One that has not been
//! switched to in between (`nvcsw + nivcsw`) has not run, and is blocked for at least that long.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    decode::{Caller, Task},
    input::WaitFunction,
    superblock::Dev,
    time::Mono,
};

/// Tasks followed at once.
pub const TASKS_MAX: usize = 16_384;

/// A task counts as blocked from this age on; shorter waits are work.
pub const BLOCKED_AFTER: Duration = Duration::from_millis(100);

/// Functions in which a task that walks a path waits for another process by design, uninterruptibly:
/// for the answer of a fanotify listener (`fs/notify/fanotify/fanotify.c`).
const BY_DESIGN: [&str; 1] = ["fanotify_handle_event"];

/// Functions in which a task waits for a FUSE server (`fs/fuse/{dev,inode,file,dir}.c`).
const FUSE: [&str; 5] = [
    "request_wait_answer",
    "fuse_get_req",
    "fuse_lock_inode",
    "fuse_set_nowrite",
    "fuse_wait_on_page_writeback",
];

/// Addresses whose function is remembered; blocked tasks share few stacks. At the bound all are
/// forgotten, and those still needed are asked for again.
pub const NAMES_MAX: usize = 4_096;

/// One task that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Who.
    pub caller: Caller,
    /// For which superblock.
    pub dev: Dev,
    /// The FUSE superblock below that one which it really waits for, where that is another.
    pub cause: Option<Dev>,
    /// When it entered its system call; else when it was first seen like this.
    pub since: Mono,
    /// Whether that is when it entered its system call.
    pub is_since_entry: bool,
    /// `S` or `D`.
    pub state: char,
    /// The kernel function it waits in, where known.
    pub waits_in: Option<String>,
    /// Kernel stack, innermost first.
    pub stack: Vec<u64>,
    /// When it was last seen.
    pub seen: Mono,
    switches: Option<u64>,
    /// Whether a light scan shows it.
    is_in_light_scans: bool,
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The superblock its call is about.
    pub dev: Dev,
    /// The FUSE superblock it asks, where known: the same, or one below a stacked filesystem.
    pub cause: Option<Dev>,
}

/// The tasks that wait.
#[derive(Clone, Debug, Default)]
pub struct Waiters {
    by_tid: BTreeMap<u32, Waiter>,
    functions: Vec<WaitFunction>,
    /// The function of an address; `None` while it is asked for, or when nobody knows.
    names: BTreeMap<u64, Option<String>>,
    /// Tasks not followed because of [`TASKS_MAX`].
    pub refused: u64,
}

impl Waiters {
    /// Takes the ranges of the functions in which tasks wait.
    pub fn set_functions(&mut self, mut functions: Vec<WaitFunction>) {
        functions.sort_by_key(|function| function.start);
        self.functions = functions;
    }

    /// Takes one scan. `place_of` says which superblock a task waits for, and which one below it is
    /// to blame. Returns the superblocks on which a blocked task moved on.
    ///
    /// A light scan sees only tasks inside a path walk or an open call: it says nothing about the
    /// others.
    pub fn update(
        &mut self,
        now: Mono,
        tasks: &[&Task],
        is_full: bool,
        place_of: impl Fn(&Task) -> Option<Place>,
    ) -> Vec<Dev> {
        let mut before = std::mem::take(&mut self.by_tid);
        let mut moved_on = Vec::new();
        for task in tasks {
            let Some(place) = place_of(task) else {
                continue;
            };
            let known = before.remove(&task.caller.tid);
            let waiter = self.waiter(now, task, place, known.as_ref());
            if let Some(known) = known
                && known.since != waiter.since
            {
                moved_on.push(known.dev);
            }
            if self.by_tid.len() < TASKS_MAX {
                self.by_tid.insert(task.caller.tid, waiter);
            } else {
                self.refused += 1;
            }
        }
        for (tid, known) in before {
            if is_full || known.is_in_light_scans {
                moved_on.push(known.dev);
            } else if self.by_tid.len() < TASKS_MAX {
                self.by_tid.insert(tid, known);
            }
        }
        moved_on.sort_unstable();
        moved_on.dedup();
        moved_on
    }

    fn waiter(&self, now: Mono, task: &Task, place: Place, known: Option<&Waiter>) -> Waiter {
        let is_same = |known: &&Waiter| known.dev == place.dev && known.switches == task.switches;
        let first_seen = known.filter(is_same).map_or(now, |known| known.since);
        Waiter {
            caller: task.caller.clone(),
            dev: place.dev,
            cause: place.cause.filter(|cause| *cause != place.dev),
            since: task.since.unwrap_or(first_seen),
            is_since_entry: task.since.is_some(),
            state: task.state,
            waits_in: self.waits_in(&task.stack).map(str::to_owned),
            stack: task.stack.clone(),
            seen: now,
            switches: task.switches,
            is_in_light_scans: task.walk_dev.is_some() || task.since.is_some(),
        }
    }

    /// The innermost wait function on a stack.
    pub fn waits_in(&self, stack: &[u64]) -> Option<&str> {
        stack.iter().find_map(|&address| self.symbol(address))
    }

    fn symbol(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|f| f.start <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        (address < function.end).then_some(function.name.as_str())
    }

    /// A stack for people: function names. Never an address, which would tell every reader of the
    /// snapshot where the kernel's text lies.
    pub fn symbolised(&self, stack: &[u64]) -> Vec<String> {
        let named = |address: &u64| self.names.get(address).and_then(Option::as_deref);
        let name = |address: &u64| self.symbol(*address).or_else(|| named(address));
        stack
            .iter()
            .map(|address| name(address).unwrap_or("?").to_owned())
            .collect()
    }

    /// Addresses on the stacks of blocked tasks that nobody was asked about yet; each is told once.
    pub fn take_unnamed(&mut self, now: Mono) -> Vec<u64> {
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let blocked = self.by_tid.values();
        let blocked = blocked.filter(|waiter| waiter.age(now) >= BLOCKED_AFTER);
        let addresses: BTreeSet<u64> = blocked.flat_map(|w| w.stack.iter().copied()).collect();
        let is_unnamed =
            |address: &u64| self.symbol(*address).is_none() && !self.names.contains_key(address);
        let room = NAMES_MAX - self.names.len();
        let unnamed: Vec<u64> = addresses
            .into_iter()
            .filter(is_unnamed)
            .take(room)
            .collect();
        self.names
            .extend(unnamed.iter().map(|address| (*address, None)));
        unnamed
    }

    /// Takes the functions that were found.
    pub fn set_names(&mut self, names: Vec<(u64, String)>) {
        for (address, name) in names {
            // A recording that lost its beginning says them before any task was seen.
            if self.names.len() < NAMES_MAX || self.names.contains_key(&address) {
                self.names.insert(address, Some(name));
            }
        }
    }

    /// Whether a stack is that of a task which waits for a FUSE server.
    pub fn is_in_fuse(&self, stack: &[u64]) -> bool {
        self.waits_in(stack)
            .is_some_and(|function| FUSE.contains(&function))
    }

    /// The superblock is gone.
    pub fn drop_superblock(&mut self, dev: Dev) {
        self.by_tid.retain(|_, waiter| waiter.dev != dev);
        for waiter in self.by_tid.values_mut() {
            waiter.cause.take_if(|cause| *cause == dev);
        }
    }

    /// Every task.
    pub fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.by_tid.values()
    }
}

impl Waiter {
    /// Whether it waits for this superblock, itself or by way of another.
    pub fn is_about(&self, dev: Dev) -> bool {
        self.dev == dev || self.cause == Some(dev)
    }

    /// Whether it waits in a filesystem, or, where the function is not known, as one does there.
    pub fn is_in_filesystem(&self) -> bool {
        match self.waits_in.as_deref() {
            Some(function) => !BY_DESIGN.contains(&function),
            None => self.state == 'D',
        }
    }

    /// How long it has waited, at least.
    pub fn age(&self, now: Mono) -> Duration {
        now.since(self.since)
    }
}

#[cfg(test)]
mod tests;
