//! An NFS server of the kernel's own and a mount of it, over the loopback and through a relay that can
//! be stopped and killed. Without nfs-utils: what its daemons would tell the kernel is told here.

mod portmap;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
    unistd::gettid,
};

use crate::{Process, Sandbox, mounts::device_of, needs::say, sandbox::beside_us};

/// Where the kernel's server listens.
const SERVER_PORT: u16 = 2049;

/// Where the relay listens, and the mount connects to.
const RELAY_PORT: u16 = 12049;

/// Files of the export, none of which the client knows before it is asked for it.
const FILES: [&str; 3] = ["file1", "file2", "file3"];

/// `NFSEXP_INSECURE_PORT`, `NFSEXP_NOSUBTREECHECK` and `NFSEXP_FSID` (`include/uapi/linux/nfsd/export.h`).
const EXPORT_FLAGS: u32 = 0x2402;

/// Of an entry in the server's tables, in seconds since the epoch: never.
const EXPIRY: u32 = i32::MAX.cast_unsigned();

/// Of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Without state at the server.
    V3,
    /// 4.2.
    V4,
}

/// A mount whose server is this machine.
#[derive(Debug)]
pub struct NfsMount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Its device number, as in mountinfo.
    pub dev: String,
    /// What stands between it and the server.
    pub relay: Process,
    version: Version,
    /// The directory that is served.
    export: PathBuf,
    /// Where the server is told what to do.
    control: PathBuf,
    /// There is one server on a machine.
    _server: MutexGuard<'static, ()>,
}

static SERVER: Mutex<()> = Mutex::new(());

impl NfsMount {
    /// Serves a directory and mounts it; why not where the kernel has no NFS.
    ///
    /// # Panics
    /// When something else goes wrong.
    pub fn new(sandbox: &Sandbox, version: Version) -> Result<Self, String> {
        // Another test that panicked has ended its server all the same.
        let server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        let (export, control) = serve(sandbox, version)?;
        let relay = relay(sandbox);
        let path = sandbox.directory("nfs");
        mount_client(&path, version)?;
        let dev = device_of(&path).expect("mounted");
        Ok(Self {
            path,
            dev,
            relay,
            version,
            export,
            control,
            _server: server,
        })
    }

    /// Mounts it again after it was unmounted.
    ///
    /// # Panics
    /// When that does not work.
    pub fn mount_again(&mut self) {
        mount_client(&self.path, self.version).expect("it worked before");
        self.dev = device_of(&self.path).expect("mounted");
    }

    /// A file or directory of the export as the server sees it.
    pub fn at_server(&self, name: &str) -> PathBuf {
        self.export.join(name)
    }

    /// What the kernel's client has counted for this mount since it was made: per operation, how many
    /// ended, and how many of them failed. Those that were never called are left out.
    ///
    /// # Panics
    /// When the kernel does not tell.
    pub fn statistics(&self) -> BTreeMap<String, (u64, u64)> {
        // Each test has a mount namespace, and so its thread.
        let path = format!("/proc/{}/mountstats", gettid());
        let all = fs::read_to_string(path).expect("the kernel counts");
        let ours = format!(" mounted on {} with fstype nfs", self.path.display());
        let lines = all.lines().skip_while(|line| !line.contains(&ours)).skip(1);
        let lines = lines.take_while(|line| !line.starts_with("device "));
        let lines = lines.skip_while(|line| !line.contains("per-op statistics"));
        let counts = lines.skip(1).filter_map(|line| {
            let (operation, numbers) = line.trim().split_once(": ")?;
            let numbers: Vec<u64> = numbers.split(' ').flat_map(str::parse).collect();
            // Operations, transmissions, timeouts, bytes sent and received, three times, errors.
            Some((operation.to_owned(), (*numbers.first()?, *numbers.get(8)?)))
        });
        counts.filter(|(_, (ended, _))| *ended > 0).collect()
    }

    /// Another relay in the place of one that was killed.
    pub fn replace_relay(&mut self, sandbox: &Sandbox) {
        self.relay = relay(sandbox);
    }
}

impl Drop for NfsMount {
    /// The client first: it would go on asking a server that is gone.
    fn drop(&mut self) {
        umount2(&self.path, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).ok();
        self.relay.signal(Signal::SIGKILL);
        if let Err(error) = fs::write(self.control.join("threads"), "0\n") {
            say(&format!("cannot end the NFS server: {error}"));
        }
    }
}

/// Starts the kernel's server on a directory with a few files, and returns that and where the server is
/// controlled.
fn serve(sandbox: &Sandbox, version: Version) -> Result<(PathBuf, PathBuf), String> {
    let directory = sandbox.directory("export");
    for file in FILES {
        fs::write(directory.join(file), "content").expect("write a file");
    }
    mount_fs("rpc_pipefs", &sandbox.directory("rpc"), "rpc_pipefs", None)?;
    let control = sandbox.directory("nfsd");
    mount_fs("nfsd", &control, "nfsd", None)?;
    let export = directory.display();
    // Debian's 5.10 still has it; a kernel without refuses the word.
    fs::write(control.join("versions"), "-2\n").ok();
    let versions = match version {
        Version::V3 => {
            // It wants a port mapper.
            portmap::start();
            "+3 -4"
        }
        Version::V4 => "-3 +4 +4.1 +4.2",
    };
    for (file, text) in [
        ("versions", versions.to_owned()),
        ("nfsv4leasetime", "10".to_owned()),
        ("nfsv4gracetime", "10".to_owned()),
        ("portlist", format!("tcp {SERVER_PORT}")),
        ("threads", "2".to_owned()),
    ] {
        fs::write(control.join(file), text + "\n")
            .unwrap_or_else(|error| panic!("nfsd {file}: {error}"));
    }
    for (table, entry) in [
        ("auth.unix.ip", format!("nfsd 127.0.0.1 {EXPIRY} localhost")),
        (
            "nfsd.export",
            format!("localhost {export} {EXPIRY} {EXPORT_FLAGS} 65534 65534 0"),
        ),
        (
            "nfsd.fh",
            format!("localhost 1 \\x00000000 {EXPIRY} {export}"),
        ),
    ] {
        let channel = format!("/proc/net/rpc/{table}/channel");
        fs::write(&channel, entry + "\n").unwrap_or_else(|error| panic!("{channel}: {error}"));
    }
    Ok((directory, control))
}

fn relay(sandbox: &Sandbox) -> Process {
    let relay = sandbox.spawn(beside_us("relay"), |command| {
        command
            .arg(RELAY_PORT.to_string())
            .arg(SERVER_PORT.to_string())
            .stdout(Stdio::piped());
    });
    let stdout = relay.child().borrow_mut().stdout.take();
    let mut line = String::new();
    let read = BufReader::new(stdout.expect("stdout is piped")).read_line(&mut line);
    assert!(read.is_ok() && line == "ready\n", "{relay:?}: {line:?}");
    relay
}

/// Mounts the export through the relay. Nothing is cached: every call asks the server.
fn mount_client(path: &PathBuf, version: Version) -> Result<(), String> {
    let (kind, own) = match version {
        Version::V3 => {
            let port = portmap::MOUNT_PORT;
            let mount = format!("mountaddr=127.0.0.1,mountvers=3,mountproto=tcp,mountport={port}");
            ("nfs", format!("vers=3,nolock,{mount}"))
        }
        Version::V4 => ("nfs4", "vers=4.2,clientaddr=127.0.0.1".to_owned()),
    };
    let options = format!(
        "addr=127.0.0.1,{own},proto=tcp,port={RELAY_PORT},hard,timeo=20,retrans=1,actimeo=0,\
         lookupcache=none"
    );
    mount_fs("127.0.0.1:/", path, kind, Some(&options))
}

/// Mounts; an error where the kernel does not know the type.
fn mount_fs(source: &str, path: &PathBuf, kind: &str, options: Option<&str>) -> Result<(), String> {
    match mount(Some(source), path, Some(kind), MsFlags::empty(), options) {
        Ok(()) => Ok(()),
        Err(Errno::ENODEV) => Err(format!("the kernel has no {kind}")),
        Err(error) => panic!("mount {kind}: {error}"),
    }
}
