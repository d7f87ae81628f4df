//! Mounts that should be there: what the tables and the programs say of them, and their alerts.

use crate::{
    alert::{Change, Resolution, Transition, Victim},
    alerts::Step,
    decode::{File, Name, ShadowWrite},
    incident::{Key, Subject},
    input::{Effect, MissingMount},
    snapshot,
    time::nanos,
};

use super::{Observer, incidents};

impl Observer {
    /// The observer's own mount table was read.
    pub(super) fn look_for_expected(&mut self) {
        if self.expected.is_empty() || !self.mounts.has_own() {
            return;
        }
        let mounts = &self.mounts;
        let has_changed = self
            .expected
            .look(self.now.mono, |path| mounts.is_mounted_here(path));
        if has_changed {
            self.ask(Effect::TickNow);
        }
        self.watch_missing();
    }

    /// Tells the shell which are not there, when that changed.
    pub(super) fn watch_missing(&mut self) {
        let mounts = &self.mounts;
        let missing = |(place, mount): (u32, &crate::expected::ExpectedMount)| {
            let (mnt_ns, root) = mounts.own_root()?;
            Some(MissingMount {
                place,
                mnt_ns,
                root,
                path: mount.path.clone().into_bytes(),
            })
        };
        let missing: Vec<MissingMount> = self.expected.absent().filter_map(missing).collect();
        if missing != self.asked.missing {
            // What the shell is told of anew it has counted from zero.
            let is_new = |missing: &&MissingMount| !self.asked.missing.contains(missing);
            for missing in missing.iter().filter(is_new) {
                self.expected.begin_counting(missing.place);
            }
            self.asked.missing.clone_from(&missing);
            self.effects.push(Effect::WatchMissing(missing));
        }
    }

    pub(super) fn on_shadow_write(&mut self, write: &ShadowWrite) {
        self.expected.on_write(&self.now, write);
        self.ask(Effect::TickNow);
    }

    pub(super) fn on_shadow_counts(&mut self, counts: &[(u32, u64)]) {
        self.health.took("shadow_writes");
        self.expected.count(self.now.mono, counts);
    }

    /// Files that are open for writing on a filesystem under a missing mount.
    pub(super) fn look_underneath(&mut self, files: &[File]) {
        let found = files.iter().filter_map(|file| {
            let path = match file.name.as_ref()? {
                Name::Path(path) => path.clone(),
                Name::Below(below) => self.mounts.own_path(file.dev, below)?,
                Name::End(_) => return None,
            };
            Some((writer(file), path))
        });
        let found: Vec<_> = found.collect();
        self.expected.on_open(&self.now, &found);
    }

    /// Moves their alerts, and has the files looked at underneath.
    pub(super) fn tick_expected(&mut self) {
        let (now, clear_after) = (self.now.mono, self.config.clear_after);
        if self.expected.is_empty() {
            return;
        }
        let is_blind = !self.mounts.has_own();
        for (place, step) in self.expected.tick(now, is_blind, clear_after) {
            self.tell_expected(place, step);
        }
        self.note_underneath();
        if self.expected.wants_look(now) {
            let absent = self.expected.absent();
            let under =
                absent.filter_map(|(_, mount)| self.mounts.own_dev_of(mount.path.as_bytes()));
            let under: Vec<_> = under.collect();
            for dev in under {
                self.ask(Effect::ListFiles {
                    dev,
                    is_fuse: self.mounts.has_fuse(dev),
                });
            }
        }
    }

    fn tell_expected(&mut self, at: usize, step: Step) {
        let Some(mount) = self.expected.at(at) else {
            return;
        };
        let now = self.now;
        let advice = match step.change {
            Change::Firing => mount.advice(step.condition.kind),
            Change::Resolved { .. } => String::new(),
        };
        let key = Key::MountPoint(mount.path.clone());
        let boot_id = self.ledger.boot_id().to_owned();
        let place = self
            .ledger
            .step(now, &key, &step, &advice, || subject(&mount.path, boot_id));
        let is_superseded = step.change
            == Change::Resolved {
                why: Resolution::Superseded,
            };
        let condition = step.condition;
        let since = incidents::began(&place, condition.since);
        let transition = Transition {
            change: step.change,
            kind: condition.kind,
            severity: condition.severity,
            incident: place.incident,
            returns: place.returns,
            superblock: None,
            fstype: String::new(),
            device: String::new(),
            mountpoint: mount.path.clone(),
            mount_points: vec![mount.path.clone()],
            caused_by: Vec::new(),
            namespace: None,
            successor: mount.firing().filter(|_| is_superseded),
            since,
            since_unix_ns: now.wall_of(since),
            age_ns: nanos(now.mono.since(since)),
            reason: condition.reason,
            evidence: condition.evidence,
            victims: condition.victims,
            victims_total: condition.victims_total,
            advice,
        };
        self.tell(transition);
    }

    /// Shows the incidents that go on what was written underneath.
    fn note_underneath(&mut self) {
        let (now, units) = (self.now, &self.units);
        for mount in self.expected.iter() {
            let Some(condition) = mount.told() else {
                continue;
            };
            let key = Key::MountPoint(mount.path.clone());
            let Some(record) = self.ledger.record(&key) else {
                continue;
            };
            for victim in &condition.victims {
                let unit_of = |pid: u32| units.of(pid);
                record.evidence.suffers(now, now.mono, victim, &unit_of);
            }
            record.describe(condition, &mount.advice(condition.kind));
            let incident = record.incident();
            if incident.at_risk != mount.underneath {
                incident.at_risk.clone_from(&mount.underneath);
            }
        }
    }

    /// What the snapshot says of them.
    pub(super) fn expected_mounts(&self) -> Vec<snapshot::ExpectedMount> {
        let show = |mount: &crate::expected::ExpectedMount| snapshot::ExpectedMount {
            mountpoint: mount.path.clone(),
            is_present: self
                .mounts
                .has_own()
                .then_some(mount.absent_since.is_none()),
            absent_ns: mount.absent_ns(self.now.mono),
            alert: mount.firing().map(crate::alert::AlertKind::name),
            shadow_writes: mount.writes,
            underneath: mount.underneath.clone(),
        };
        self.expected.iter().map(show).collect()
    }
}

/// Who has a file open.
fn writer(file: &File) -> Victim {
    Victim {
        pid: file.caller.pid,
        tid: file.caller.tid,
        comm: file.caller.comm.clone(),
        operation: Some("open".to_owned()),
        age_ns: None,
        errno: None,
        path: match &file.name {
            Some(Name::Path(path)) => Some(crate::text::lossy(path)),
            Some(Name::Below(_) | Name::End(_)) | None => None,
        },
        caused_by: None,
        failed_on: None,
        attribution: None,
    }
}

/// What an incident of a mount that is missing is about.
fn subject(path: &str, boot_id: String) -> Subject {
    Subject {
        boot_id,
        device_number: None,
        fstype: String::new(),
        source: String::new(),
        mount_point: path.to_owned(),
        mounts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::Config,
        input::{BootId, Input, SelfInfo},
        time::{Mono, Now, Wall},
    };

    const SECOND: u64 = 1_000_000_000;
    const INFO: SelfInfo = SelfInfo {
        boot: BootId(7),
        is_initial_pid_namespace: true,
        is_single_look: false,
    };

    fn at(second: u64) -> Now {
        Now {
            mono: Mono(second * SECOND),
            wall: Wall(second * SECOND),
        }
    }

    fn expecting(paths: &[&str]) -> Config {
        let mut config = Config::default();
        config.expect.mount_points = paths.iter().map(|&path| path.to_owned()).collect();
        config.expect.missing_after = Duration::from_secs(10);
        config
    }

    fn table(second: u64, mounted: &[&str]) -> Input {
        let mut bytes = b"1 1 8:1 / / rw - ext4 /dev/sda1 rw\n".to_vec();
        for (n, point) in (2..).zip(mounted) {
            let line = format!("{n} 1 0:{n} / {point} rw - tmpfs tmpfs rw\n");
            bytes.extend(line.into_bytes());
        }
        Input::Mountinfo {
            mnt_ns: 7,
            is_own: true,
            read_at: at(second).mono,
            bytes,
        }
    }

    /// The places the shell is to count at.
    fn watched(effects: &[Effect]) -> Option<Vec<u32>> {
        effects.iter().find_map(|effect| {
            let Effect::WatchMissing(missing) = effect else {
                return None;
            };
            Some(missing.iter().map(|it| it.place).collect())
        })
    }

    /// As the shell does: what it is told of anew begins at zero, the rest goes on.
    #[test]
    fn writes_are_those_of_one_mount_point_and_one_absence() {
        let mut observer = Observer::new(&expecting(&["/a", "/b"]), INFO).unwrap();
        let writes = |observer: &Observer| {
            let all = observer.expected.iter();
            all.map(|mount| mount.writes).collect::<Vec<_>>()
        };
        assert_eq!(
            watched(&observer.step(at(1), table(1, &["/b"]))),
            Some(vec![0])
        );
        observer.step(at(2), Input::ShadowWrites(vec![(0, 5)]));
        // The same once more: nothing begins anew.
        let effects = observer.reconfigure(&expecting(&["/a", "/b"])).unwrap();
        assert_eq!(watched(&effects), None);
        observer.step(at(3), Input::ShadowWrites(vec![(0, 5)]));
        assert_eq!(writes(&observer), [5, 0]);
        // Another order.
        let effects = observer.reconfigure(&expecting(&["/b", "/a"])).unwrap();
        assert_eq!(watched(&effects), Some(vec![1]));
        observer.step(at(4), Input::ShadowWrites(vec![(1, 1)]));
        assert_eq!(writes(&observer), [0, 6]);
        // It was there and went again.
        assert_eq!(
            watched(&observer.step(at(5), table(5, &["/a", "/b"]))),
            Some(vec![])
        );
        assert_eq!(
            watched(&observer.step(at(6), table(6, &["/b"]))),
            Some(vec![1])
        );
        observer.step(at(7), Input::ShadowWrites(vec![(1, 2)]));
        assert_eq!(writes(&observer), [0, 8]);
        // Nothing is expected any more: nothing is counted.
        let effects = observer.reconfigure(&expecting(&[])).unwrap();
        assert_eq!(watched(&effects), Some(vec![]));
    }
}
