//! The cause next to the symptom: how a server ended, and whose it was.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use mount_observer_tests::{Observer, Process, host_test, needs::say, wait::within};

use crate::{SOON, wait_until_ok};

/// A control group of its own for one test, gone with it.
pub(crate) struct Group(PathBuf);

impl Group {
    /// In the first of these hierarchies that this machine has; `None`, and said so, where it has none.
    pub(crate) fn new(hierarchies: &[&str], test: &str) -> Option<Self> {
        let group = hierarchies.iter().find_map(|place| Self::below(place));
        if group.is_none() {
            say(&format!(
                "NOT HERE: {test}: no control groups at {hierarchies:?}"
            ));
        }
        group
    }

    fn below(hierarchy: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mount-observer-{}-{number}.service", std::process::id());
        let place = Path::new(hierarchy).join(name);
        let is_made = fs::create_dir(&place).is_ok();
        // A directory of another filesystem is no group.
        let is_group = fs::read(place.join("cgroup.procs")).is_ok();
        if is_made && !is_group {
            fs::remove_dir(&place).ok();
        }
        (is_made && is_group).then_some(Self(place))
    }

    fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).expect("write to the control group");
    }

    pub(crate) fn take(&self, process: &Process) {
        self.set("cgroup.procs", &process.pid().to_string());
    }

    pub(crate) fn name(&self) -> String {
        let name = self.0.file_name().expect("it has a name");
        name.to_string_lossy().into_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let gone = within(SOON, "the group is empty", || {
            Some(fs::remove_dir(&self.0)).filter(Result::is_ok)
        });
        gone.expect("remove the control group");
    }
}

#[test]
fn a_server_killed_for_its_memory_is_told_from_one_that_was_just_killed() {
    host_test(&[], |sandbox| {
        let test = "a_server_killed_for_its_memory_is_told_from_one_that_was_just_killed";
        let Some(group) = Group::new(&["/sys/fs/cgroup/memory"], test) else {
            return;
        };
        group.set("memory.limit_in_bytes", "64M");
        let mut mount = sandbox.faultfs("mount");
        group.take(&mount.server);
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.eat(256);
        let dead = observer.wait_for_state(&mount.dev, "dead", SOON);
        let server = &dead.0["fuse"]["servers"][0];
        assert_eq!(server["exit"], "SIGKILL (out of memory)", "{:#}", dead.0);
        assert!(
            dead.text("reason").contains("out of memory"),
            "{:#}",
            dead.0
        );
    });
}

#[test]
fn a_server_that_is_gone_is_told_with_the_unit_it_belonged_to() {
    host_test(&[], |sandbox| {
        let test = "a_server_that_is_gone_is_told_with_the_unit_it_belonged_to";
        let hierarchies = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let Some(group) = Group::new(&hierarchies, test) else {
            return;
        };
        let mut mount = sandbox.faultfs("mount");
        group.take(&mount.server);
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.crash();
        let unit = group.name();
        observer.wait_for(&mount.dev, SOON, "dead, with its server's unit", |seen| {
            seen.state() == "dead" && seen.0["fuse"]["servers"][0]["unit"] == unit.as_str()
        });
    });
}
