//! Which superblock is to blame where one filesystem stands on another: an overlay passes on what the
//! layer below it answers, under another errno (`ovl_revalidate_real`, `fs/overlayfs/super.c`, v6.18,
//! makes `ESTALE` of a dead FUSE layer), or waits as long as that does.
//!
//! Only stacked filesystems are excused: a path may lead across a FUSE mount on its way to another
//! filesystem, and what fails there has nothing to do with FUSE.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    blocked::Place,
    decode::Task,
    errno::Errno,
    superblock::{Dev, SuperblockId},
    time::Mono,
    watched::{Failure, name_of},
};

use super::Observer;

impl Observer {
    /// Notes a failure of `dev` also where it comes from, and says so in it.
    pub(super) fn blame(&mut self, dev: Dev, cause: Dev, mut failure: Failure) -> Failure {
        if cause == dev || !self.mounts.is_stacked(dev) {
            return failure;
        }
        let upper = if self.superblocks.contains_key(&dev) {
            name_of(&self.superblocks, dev)
        } else {
            self.mounts.name_of(dev)
        };
        if let Some(lower) = self.superblocks.get_mut(&cause) {
            let mut below = failure.clone();
            below.victim.failed_on = Some(upper);
            lower.add_failure(below);
        }
        // Whatever the errno became on its way up, a dead layer below may be behind it.
        self.suspect(cause, Errno::ENOTCONN);
        failure.victim.caused_by = Some(name_of(&self.superblocks, cause));
        if let Some(superblock) = self.superblocks.get_mut(&dev) {
            superblock.add_cause(cause, failure.at);
        }
        failure
    }

    /// The superblocks below that are to blame for the trouble of one since then: those that made its
    /// calls fail, and those that its tasks wait for.
    pub(super) fn blamed(&self, dev: Dev, since: Mono) -> Vec<SuperblockId> {
        let superblock = self.superblocks.get(&dev);
        let failed = superblock
            .into_iter()
            .flat_map(|one| one.causes_since(since));
        let waiters = self.waiters.iter().filter(|waiter| waiter.dev == dev);
        let waited = waiters.filter_map(|waiter| waiter.cause);
        let causes: BTreeSet<Dev> = failed.chain(waited).filter(|cause| *cause != dev).collect();
        let known = causes
            .iter()
            .filter_map(|cause| self.superblocks.get(cause));
        known.map(|superblock| superblock.id).collect()
    }

    /// Which superblock a sleeping task waits for: where its path walk stands, else which one its
    /// call has reached, else that of its descriptor, else the one it has a request on. What was
    /// asked earlier within a call counts only while the task really waits for a FUSE server.
    pub(super) fn place_of(&self, task: &Task, own: &BTreeMap<u32, Dev>) -> Option<Place> {
        let is_watched = |dev: &Dev| self.superblocks.contains_key(dev);
        let is_in_fuse = || self.waiters.is_in_fuse(&task.stack);
        let own = own.get(&task.caller.tid).copied();
        let asked = task.cause_dev.filter(|_| is_in_fuse());
        let cause = own.or(asked).filter(is_watched);
        let upper = [task.walk_dev, task.call_dev, task.file_dev];
        let dev = upper.into_iter().flatten().find(is_watched).or(cause)?;
        let is_stacked = cause != Some(dev) && self.mounts.is_stacked(dev);
        Some(Place {
            dev,
            cause: cause.filter(|_| is_stacked),
        })
    }
}
