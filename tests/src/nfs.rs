//! An NFS server of the kernel's own and a mount of it, over the loopback and through a relay that can
//! be stopped and killed. Without nfs-utils: what its daemons would tell the kernel is told here.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Stdio,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

use crate::{Process, Sandbox, mounts::device_of, sandbox::beside_us};

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

/// A mount whose server is this machine.
#[derive(Debug)]
pub struct NfsMount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Its device number, as in mountinfo.
    pub dev: String,
    /// What stands between it and the server.
    pub relay: Process,
}

impl NfsMount {
    /// Serves a directory and mounts it; why not where the kernel has no NFS.
    ///
    /// # Panics
    /// When something else goes wrong.
    pub fn new(sandbox: &Sandbox) -> Result<Self, String> {
        serve(sandbox)?;
        let relay = relay(sandbox);
        let path = sandbox.directory("nfs");
        let options = format!(
            "addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.2,proto=tcp,port={RELAY_PORT},hard,timeo=20,\
             retrans=1,actimeo=0,lookupcache=none"
        );
        mount_fs("127.0.0.1:/", &path, "nfs4", Some(&options))?;
        let dev = device_of(&path).expect("mounted");
        Ok(Self { path, dev, relay })
    }

    /// Another relay in the place of one that was killed.
    pub fn replace_relay(&mut self, sandbox: &Sandbox) {
        self.relay = relay(sandbox);
    }
}

/// Starts the kernel's server on a directory with a few files.
fn serve(sandbox: &Sandbox) -> Result<(), String> {
    let export = sandbox.directory("export");
    for file in FILES {
        fs::write(export.join(file), "content").expect("write a file");
    }
    mount_fs("rpc_pipefs", &sandbox.directory("rpc"), "rpc_pipefs", None)?;
    let control = sandbox.directory("nfsd");
    mount_fs("nfsd", &control, "nfsd", None)?;
    let export = export.display();
    // Debian's 5.10 still has it; a kernel without refuses the word.
    fs::write(control.join("versions"), "-2\n").ok();
    for (file, text) in [
        // Versions 2 and 3 want a port mapper.
        ("versions", "-3 +4 +4.1 +4.2".to_owned()),
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
    Ok(())
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

/// Mounts; an error where the kernel does not know the type.
fn mount_fs(source: &str, path: &PathBuf, kind: &str, options: Option<&str>) -> Result<(), String> {
    match mount(Some(source), path, Some(kind), MsFlags::empty(), options) {
        Ok(()) => Ok(()),
        Err(Errno::ENODEV) => Err(format!("the kernel has no {kind}")),
        Err(error) => panic!("mount {kind}: {error}"),
    }
}
