//! Which superblocks there are, from the mount tables, and when one takes over another's number.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    alert::Resolution,
    connection::Confirmation,
    input::Effect,
    mounts::{Mounted, Update},
    superblock::{Dev, SuperblockId},
    time::Mono,
    watched::{Service, Watched},
};

use super::Observer;

/// Device numbers whose next epoch is remembered after their superblock is gone.
const REMEMBERED_MAX: usize = 4096;

/// Types of filesystems whose wait functions are asked for; those of more are not.
const FSTYPES_MAX: usize = 64;

/// Which epoch comes next for each device number.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    next: BTreeMap<Dev, u32>,
    /// Above every epoch of the numbers that were forgotten.
    floor: u32,
}

impl Epochs {
    fn take(&mut self, dev: Dev) -> SuperblockId {
        let epoch = self.next.get(&dev).copied().unwrap_or(self.floor);
        if self.next.len() >= REMEMBERED_MAX && !self.next.contains_key(&dev) {
            // An identity must not come twice: whatever is forgotten starts above it.
            let forgotten = self.next.pop_first().map_or(0, |(_, epoch)| epoch);
            self.floor = self.floor.max(forgotten);
        }
        self.next.insert(dev, epoch + 1);
        SuperblockId { dev, epoch }
    }
}

/// Version 4 is a type of its own.
fn is_nfs(fstype: &str) -> bool {
    matches!(fstype, "nfs" | "nfs4")
}

impl Observer {
    pub(super) fn on_mountinfo(&mut self, mnt_ns: u32, is_own: bool, read_at: Mono, bytes: &[u8]) {
        self.health.took("mountinfo");
        match self.mounts.update(mnt_ns, is_own, read_at, bytes) {
            Update::Changed => self.reconcile(Resolution::Unmounted),
            Update::Same => {}
            // Counted where it is refused; it settles nothing.
            Update::Refused | Update::Stale => return,
        }
        if is_own {
            self.look_for_expected();
        }
        self.look_after_the_dead(mnt_ns, read_at);
    }

    pub(super) fn on_namespaces(&mut self, existing: &[u32]) {
        self.health.took("namespaces");
        if self.mounts.retain(existing) {
            self.reconcile(Resolution::Unmounted);
        }
    }

    /// A table that still shows a superblock after its connection went settles that it died; after
    /// its last unmount, that another has its number. Where it may have been an unmount, and one that
    /// shows it again and again, may show its successor: look who is served.
    fn look_after_the_dead(&mut self, mnt_ns: u32, read_at: Mono) {
        let mut is_suspect = false;
        let mut is_settled = false;
        let mut is_unclear = false;
        let mut succeeded = Vec::new();
        for superblock in self.superblocks.values_mut() {
            let mut shown_in = superblock.mounted.mount_ids.iter().map(|(ns, _)| *ns);
            if !superblock.connection.is_dying() || !shown_in.any(|ns| ns == mnt_ns) {
                continue;
            }
            if superblock.connection.is_unmounted_at(read_at) {
                succeeded.push(superblock.mounted.clone());
                continue;
            }
            match (superblock.connection).confirm_death(self.now.mono, read_at) {
                Confirmation::Settled => is_settled = true,
                Confirmation::Known => is_suspect = true,
                Confirmation::Unclear => is_unclear = true,
                Confirmation::TooEarly => {}
            }
        }
        for mounted in succeeded {
            self.replace(mounted);
        }
        if is_settled {
            self.ask(Effect::TickNow);
        }
        if is_suspect {
            self.ask(Effect::ScanHolders);
        }
        if is_unclear {
            self.ask(Effect::ScanSuspicion);
        }
    }

    /// Makes the superblocks watched those the mount tables show and the scope contains; `why` is
    /// what became of the others.
    pub(super) fn reconcile(&mut self, why: Resolution) {
        let (shown, out_of_scope) = self.mounts.superblocks(&self.scope);
        self.out_of_scope = out_of_scope;
        let devs: BTreeSet<Dev> = shown.iter().map(|mounted| mounted.dev).collect();
        let gone: Vec<Dev> = self.superblocks.keys().copied().collect();
        for dev in gone.into_iter().filter(|dev| !devs.contains(dev)) {
            self.end(dev, why);
        }
        for mounted in shown {
            let known = self.superblocks.get_mut(&mounted.dev);
            match known {
                Some(known) if !known.is_replaced_by(&mounted) => known.mounted = mounted,
                Some(_) => self.replace(mounted),
                None => self.begin(mounted),
            }
        }
        if devs != self.asked.superblocks {
            let list = devs.iter().copied().collect();
            self.effects.push(Effect::WatchSuperblocks(list));
        }
        let points = self.mounts.mount_points(&devs);
        if points != self.asked.mount_points {
            self.asked.mount_points.clone_from(&points);
            self.effects.push(Effect::WatchMountPoints(points));
        }
        self.asked.superblocks = devs;
        self.follow_nfs();
    }

    /// Tells which superblocks are NFS's, when that changed.
    fn follow_nfs(&mut self) {
        let is_nfs = |superblock: &&Watched| is_nfs(&superblock.mounted.fstype);
        let found = self.superblocks.values().filter(is_nfs);
        let found: Vec<SuperblockId> = found.map(|superblock| superblock.id).collect();
        if found != self.asked.nfs {
            self.asked.nfs.clone_from(&found);
            self.ask(Effect::FollowNfs(found));
        }
    }

    /// Another superblock took the number.
    pub(super) fn replace(&mut self, mounted: Mounted) {
        self.end(mounted.dev, Resolution::Replaced);
        self.begin(mounted);
    }

    fn begin(&mut self, mounted: Mounted) {
        let id = self.epochs.take(mounted.dev);
        self.ask_for_functions_of(&mounted.fstype);
        let superblock = Watched::new(id, mounted, self.now.mono);
        if superblock.service == Service::Fuse {
            self.ask(Effect::ScanHolders);
        }
        self.superblocks.insert(id.dev, superblock);
    }

    /// The kernel loads a filesystem's module for its first mount.
    fn ask_for_functions_of(&mut self, fstype: &str) {
        let family = fstype.split('.').next().unwrap_or_default();
        let fstypes = &mut self.asked.fstypes;
        if fstypes.len() < FSTYPES_MAX && fstypes.insert(family.to_owned()) {
            self.ask(Effect::FindWaitFunctions);
        }
    }

    fn end(&mut self, dev: Dev, why: Resolution) {
        self.keep_in_flight(dev);
        let Some(superblock) = self.superblocks.get_mut(&dev) else {
            return;
        };
        if let Some(step) = superblock.alerts.end(why) {
            self.note_state(dev, None);
            self.note_steps(dev, vec![step]);
            self.ask(Effect::TickNow);
        }
        let Some(superblock) = self.superblocks.remove(&dev) else {
            return;
        };
        self.requests.drop_superblock(dev);
        self.waiters.drop_superblock(dev);
        self.asked.suspects.remove(&dev);
        let counts = superblock.counters.operations();
        self.totals.elsewhere += counts.iter().map(|operation| operation.count).sum::<u64>();
    }
}
