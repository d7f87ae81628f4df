//! The superblocks a trace shows, and the mount each is shown under.

use std::{collections::BTreeMap, sync::Arc};

use crate::{mounts::Mounted, observer::Observer, superblock::Dev};

use super::{Matcher, Place};

/// Places remembered in one session, those of superblocks that have gone included.
const PLACES_MAX: usize = 16_384;

/// The number of a place within a session: a superblock under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlaceId(usize);

/// The places.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: Vec<(Dev, Arc<Place>)>,
    current: BTreeMap<Dev, PlaceId>,
    /// Whether the mount tables may show something new.
    is_old: bool,
}

impl Places {
    /// Something was learnt about mounts.
    pub(super) fn grow_old(&mut self) {
        self.is_old = true;
    }

    /// The place of a superblock that the filter admits. One that has gone keeps its last: what ended
    /// before is told after.
    pub(super) fn of(
        &mut self,
        dev: Dev,
        matcher: &Matcher,
        observer: &Observer,
    ) -> Option<PlaceId> {
        if std::mem::take(&mut self.is_old) {
            for (dev, mounted) in observer.superblocks_in_scope() {
                self.learn(dev, mounted, matcher);
            }
        }
        self.current.get(&dev).copied()
    }

    /// A place by its number.
    pub(super) fn get(&self, id: PlaceId) -> Option<(Dev, &Arc<Place>)> {
        self.all.get(id.0).map(|(dev, place)| (*dev, place))
    }

    fn learn(&mut self, dev: Dev, mounted: &Mounted, matcher: &Matcher) {
        let points = || {
            mounted
                .mounts
                .iter()
                .map(|mount| mount.mount_point.as_str())
        };
        if !matcher.admits_superblock(&mounted.fstype, points()) {
            self.current.remove(&dev);
            return;
        }
        // Under the name that was asked for, where that is not the best known.
        let is_asked = |point: &&str| matcher.names_mount(point);
        let best = mounted.mountpoint.as_str();
        let shown = Some(best)
            .filter(is_asked)
            .or_else(|| points().find(is_asked));
        let place = Place {
            mount_point: shown.unwrap_or(best).to_owned(),
            fstype: mounted.fstype.clone(),
        };
        let known = self.current.get(&dev).and_then(|id| self.get(*id));
        if known.is_some_and(|(_, known)| **known == place) {
            return;
        }
        if self.all.len() >= PLACES_MAX {
            // Not under the name of what had the number before.
            self.current.remove(&dev);
            return;
        }
        self.current.insert(dev, PlaceId(self.all.len()));
        self.all.push((dev, Arc::new(place)));
    }
}
