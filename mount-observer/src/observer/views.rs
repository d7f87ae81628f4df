//! What a trace that runs beside the observer may look at.

use crate::{
    blocked::Waiters, mounts::Mounted, requests::Requests, superblock::Dev, watched::Service,
};

use super::Observer;

impl Observer {
    /// The requests in flight.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The tasks that wait.
    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Whether a superblock in scope is FUSE's.
    pub(crate) fn is_fuse(&self, dev: Dev) -> bool {
        let superblock = self.superblocks.get(&dev);
        superblock.is_some_and(|superblock| superblock.service != Service::Kernel)
    }

    /// The superblocks in scope.
    pub(crate) fn superblocks_in_scope(&self) -> impl Iterator<Item = (Dev, &Mounted)> {
        let all = self.superblocks.iter();
        all.map(|(dev, superblock)| (*dev, &superblock.mounted))
    }
}
