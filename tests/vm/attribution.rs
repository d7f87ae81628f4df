//! A call that fails because of a dead mount counts for that mount, whatever led there, and for no
//! other that the caller's words could mean.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mount_observer_tests::{
    FaultFsMount, FuseMount, Need, Observer, Process, Sandbox, host_test,
    mounts::device_in_namespace_of,
    needs::{program, say},
    observer::{Superblock, device_of_id},
    sandbox::beside_us,
    scene::SOON,
    wait::within,
};
use nix::{
    libc::ENOTCONN,
    mount::{MsFlags, mount},
};

use crate::{counts::MISSED, has_probes, wait_until_dead, wait_until_watched};

/// Calls in each way.
const CALLS: u64 = 7;

/// What names the superblock that a call failed on.
const EXACT: [&str; 4] = ["stat_exit", "walk_end", "attr_enter", "path_exit"];

/// A mount that dies, and a healthy one that the callers' words mean.
struct Stage {
    dead: FaultFsMount,
    decoy: FuseMount,
    observer: Observer,
}

impl Stage {
    /// `None` where superblocks are not named exactly.
    fn set(sandbox: &Sandbox) -> Option<Self> {
        let dead = sandbox.faultfs("dead");
        let decoy = sandbox.bindfs("decoy", &[]);
        let source = sandbox.path("decoy.source");
        symlink(&dead.path, source.join("link")).expect("a link");
        fs::create_dir(source.join("bound")).expect("a directory");
        let observer = Observer::start(sandbox, "");
        wait_until_watched(&observer, &dead.dev);
        wait_until_watched(&observer, &decoy.dev);
        has_probes(&observer, &EXACT).then_some(Self {
            dead,
            decoy,
            observer,
        })
    }

    fn kill(&mut self) {
        self.dead.crash();
        wait_until_dead(&self.observer, &self.dead.dev);
    }

    /// Lets callers fail and expects each call to count on `dev`, exactly once, and nowhere else, but for
    /// those that the kernel left out and the observer counts as missed.
    #[track_caller]
    fn expect(&self, dev: &str, what: &str, calls: impl FnOnce() -> String) {
        let before = Counted::of(&self.observer, dev);
        let missed_before = self.observer.counter(MISSED).unwrap_or(0);
        assert_eq!(calls(), format!("{ENOTCONN} {CALLS}"), "{what}");
        let missed = || self.observer.counter(MISSED).unwrap_or(0) - missed_before;
        // What was missed is of the whole machine: those of other tests do not make up for ours, which
        // may just not be counted yet.
        let there = || Counted::of(&self.observer, dev).there;
        let is_all = || (there() >= before.there + CALLS).then_some(());
        self.observer.look(SOON, is_all);
        let after = Counted::of(&self.observer, dev);
        let seen = self.observer.superblock(dev).expect(what);
        let lacking = (before.there + CALLS).saturating_sub(after.there);
        assert!(
            lacking <= missed(),
            "{what}: {lacking} lacking: {:#}",
            seen.0
        );
        if lacking > 0 {
            say(&format!(
                "NOT EXACT: {what}: {lacking} of {CALLS} calls were missed, and counted as such"
            ));
        }
        // Where the end of a walk was missed, the caller's words have to do, and are said to.
        let by_words = |after: u64, before: u64| after.min(before + lacking);
        let expected = Counted {
            there: before.there + CALLS - lacking,
            elsewhere: by_words(after.elsewhere, before.elsewhere),
            nowhere: by_words(after.nowhere, before.nowhere),
        };
        let nowhere = &self.observer.snapshot()["unattributed"];
        assert_eq!(after, expected, "{what}: {nowhere} {:#}", seen.0);
        if lacking > 0 {
            return;
        }
        let newest = seen.list("failures").first().expect("a failure");
        assert_eq!(newest["comm"], "victim", "{what}: {newest:#}");
        assert!(newest["attribution"].is_null(), "{what}: {newest:#}");
    }
}

/// ENOTCONN of path calls: on a superblock, on all others in this namespace, and on none.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    there: u64,
    elsewhere: u64,
    nowhere: u64,
}

impl Counted {
    fn of(observer: &Observer, dev: &str) -> Self {
        let snapshot = observer.snapshot();
        let (mut there, mut elsewhere) = (0, 0);
        for superblock in snapshot["superblocks"].as_array().into_iter().flatten() {
            let count = Superblock(superblock.clone(), SOON).failed_calls("ENOTCONN");
            if device_of_id(superblock["id"].as_str()) == Some(dev) {
                there += count;
            } else if superblock["mounts"][0]["is_own_namespace"] == true {
                // Tests beside this one kill mounts of their own, in their own namespaces.
                elsewhere += count;
            }
        }
        let nowhere = snapshot["unattributed"].as_array().into_iter().flatten();
        let nowhere = nowhere
            .filter(|count| count["errno"] == "ENOTCONN")
            .filter_map(|count| count["count"].as_u64())
            .sum();
        Self {
            there,
            elsewhere,
            nowhere,
        }
    }
}

fn repeat() -> String {
    format!("--repeat={CALLS}")
}

fn report(process: &Process) -> String {
    process.output_within(SOON).trim_end().to_owned()
}

#[test]
fn a_failed_stat_is_attributed_through_links_binds_chroot_directories_and_namespaces() {
    host_test(&[Need::Bindfs], |sandbox| {
        let Some(mut stage) = Stage::set(sandbox) else {
            return;
        };
        let repeat = repeat();
        let repeat = OsStr::new(&repeat);
        let bound = stage.decoy.join("bound");
        bind(&stage.dead.join("directory"), &bound);
        // Below this root the decoy's own path leads to the mount that dies.
        let jail = sandbox.directory("jail");
        let inside = below(&jail, &stage.decoy.path);
        fs::create_dir_all(&inside).expect("directories");
        bind(&stage.dead.path, &inside);
        // A directory of the mount that dies, under a name that will mean another one.
        let covered = sandbox.directory("covered");
        bind(&stage.dead.join("directory"), &covered);
        let file = Path::new("file");
        let cwd = [OsStr::new("--from"), covered.as_os_str(), repeat];
        let by_cwd = sandbox.prepared("stat", file, &cwd);
        let dfd = [
            OsStr::new("--from"),
            stage.decoy.path.as_os_str(),
            OsStr::new("--dirfd"),
            stage.dead.path.as_os_str(),
            repeat,
        ];
        let by_directory = sandbox.prepared("stat", file, &dfd);
        let _cover = sandbox.faultfs("covered");
        let elsewhere = Namespace::with_mount_at(sandbox, &stage.decoy);
        // Other namespaces are read rarely where that takes long: a 500th of the time.
        let patience = Duration::from_mins(1);
        let is_there = |_: &Superblock| true;
        stage
            .observer
            .wait_for(&elsewhere.dev, patience, "there", is_there);
        wait_until_watched(&stage.observer, &elsewhere.dev);
        stage.kill();
        elsewhere.kill(&stage.observer);

        let dead = stage.dead.dev.clone();
        let stat =
            |path: &Path| report(&sandbox.victim(&[OsStr::new("stat"), path.as_os_str(), repeat]));
        stage.expect(&dead, "through a link", || {
            stat(&stage.decoy.join("link/file"))
        });
        stage.expect(&dead, "through a bind mount", || stat(&bound.join("file")));
        stage.expect(&dead, "after chroot", || {
            let path = stage.decoy.join("file");
            let (call, option) = (OsStr::new("stat"), OsStr::new("--chroot"));
            let words = [call, path.as_os_str(), option, jail.as_os_str(), repeat];
            report(&sandbox.victim(&words))
        });
        stage.expect(&dead, "from a directory", || by_directory.outcome());
        stage.expect(&dead, "from a covered directory", || by_cwd.outcome());
        stage.expect(&elsewhere.dev, "in another namespace", || {
            report(&elsewhere.victim(sandbox, &stage.decoy.join("file"), repeat))
        });
    });
}

#[test]
fn every_kind_of_call_that_fails_is_attributed_without_its_words() {
    host_test(&[Need::Bindfs], |sandbox| {
        let Some(mut stage) = Stage::set(sandbox) else {
            return;
        };
        let (file, link) = (stage.dead.join("file"), stage.decoy.join("link"));
        let repeat = repeat();
        let options = [OsStr::new(&repeat)];
        let on_descriptors =
            ["fstat", "empty"].map(|call| (call, sandbox.prepared(call, &file, &options)));
        stage.kill();
        let dead = stage.dead.dev.clone();
        for (call, victim) in on_descriptors {
            stage.expect(&dead, call, || victim.outcome());
        }
        for (call, path) in [
            ("stat", "file"),
            ("newfstatat", "file"),
            ("newfstatat", ""),
            ("access", "file"),
            ("statfs", ""),
            ("open", "file"),
        ] {
            let path = link.join(path);
            stage.expect(&dead, &format!("{call} {}", path.display()), || {
                report(&sandbox.victim(&[OsStr::new(call), path.as_os_str(), OsStr::new(&repeat)]))
            });
        }
    });
}

/// Another mount namespace, in which a decoy's path is a mount of its own.
struct Namespace {
    holder: Process,
    server: Process,
    dev: String,
}

impl Namespace {
    fn with_mount_at(sandbox: &Sandbox, decoy: &FuseMount) -> Self {
        let holder = sandbox.spawn(program("unshare").expect("util-linux"), |command| {
            command.args(["--mount", "--propagation=private", "sleep", "600"]);
        });
        let own = fs::read_link("/proc/thread-self/ns/mnt").expect("a link");
        within(SOON, "another namespace", || {
            let link = fs::read_link(format!("/proc/{}/ns/mnt", holder.pid()));
            link.ok().filter(|link| *link != own)
        });
        let server = enter(sandbox, &holder, "faultfs", &[decoy.path.as_os_str()]);
        let dev = within(SOON, "a mount in the other namespace", || {
            device_in_namespace_of(holder.pid(), &decoy.path).filter(|dev| *dev != decoy.dev)
        });
        Self {
            holder,
            server,
            dev,
        }
    }

    fn kill(&self, observer: &Observer) {
        self.server.signal(nix::sys::signal::Signal::SIGKILL);
        wait_until_dead(observer, &self.dev);
    }

    fn victim(&self, sandbox: &Sandbox, path: &Path, repeat: &OsStr) -> Process {
        let words = [OsStr::new("stat"), path.as_os_str(), repeat];
        enter(sandbox, &self.holder, "victim", &words)
    }
}

/// Starts a program of ours in the mount namespace of a process.
fn enter(sandbox: &Sandbox, holder: &Process, name: &str, words: &[&OsStr]) -> Process {
    sandbox.spawn(program("nsenter").expect("util-linux"), |command| {
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", holder.pid()))
            .arg(beside_us(name))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
    })
}

/// An absolute path as it is called from outside of a root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").expect("an absolute path"))
}

/// `mount --bind`.
fn bind(from: &Path, to: &Path) {
    let nothing = None::<&str>;
    mount(Some(from), to, nothing, MsFlags::MS_BIND, nothing).expect("mount --bind");
}
