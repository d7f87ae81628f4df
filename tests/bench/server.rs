//! The smallest FUSE server that answers: one file, nothing cached, one request per read. It speaks
//! the protocol itself, so that the round trip measured is the kernel's and not a library's.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};

/// The file's name.
pub(crate) const FILE: &str = "file";

/// `include/uapi/linux/fuse.h`.
mod opcode {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
}

/// `FOPEN_DIRECT_IO`: every read is a request.
const DIRECT_IO: u32 = 1;

/// A server in a process of its own; dropping it kills it, which leaves its mount dead.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it is mounted.
    pub(crate) mount_point: PathBuf,
}

impl Server {
    /// Starts one and waits for its mount.
    pub(crate) fn start(mount_point: &Path) -> Result<Self> {
        std::fs::create_dir(mount_point)?;
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.arg("--serve").arg(mount_point).spawn()?;
        let server = Self {
            child,
            mount_point: mount_point.to_path_buf(),
        };
        let deadline = now() + Duration::from_secs(5);
        while !is_mounted(mount_point)? {
            if now() > deadline {
                bail!("the file system did not appear within 5 s");
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// Kills the server: from here on the mount answers ENOTCONN.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The second of two kills fails, as does unmounting what is gone already: both are fine.
        self.kill().unwrap_or_default();
        nix::mount::umount2(&self.mount_point, nix::mount::MntFlags::MNT_DETACH)
            .unwrap_or_default();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark waits for its own file system"
)]
fn now() -> Instant {
    Instant::now()
}

fn is_mounted(mount_point: &Path) -> Result<bool> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let wanted = mount_point.to_string_lossy();
    Ok(table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&wanted)))
}

/// Mounts and serves until killed.
pub(crate) fn serve(mount_point: &Path) -> Result<()> {
    let mut device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("bench"),
        mount_point,
        Some("fuse.bench"),
        flags,
        Some(data.as_str()),
    )
    .context("cannot mount")?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match device.read(&mut buffer) {
            Ok(len) => answer(&mut device, buffer.get(..len).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // ENODEV: unmounted.
            Err(_) => return Ok(()),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    u32::from_ne_bytes(word.unwrap_or_default())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

fn answer(device: &mut File, request: &[u8]) -> Result<()> {
    let mut body = Vec::new();
    let mut error = 0_i32;
    match word(request, 4) {
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return Ok(()),
        opcode::INIT => init(&mut body),
        // Node 2, generation 0, neither entry nor attributes valid for any time.
        opcode::LOOKUP => {
            longs(&mut body, &[2, 0, 0, 0, 0]);
            attributes(&mut body, 2);
        }
        opcode::GETATTR => {
            longs(&mut body, &[0, 0]);
            attributes(&mut body, long(request, 16));
        }
        opcode::OPEN => {
            longs(&mut body, &[1]);
            words(&mut body, &[DIRECT_IO, 0]);
        }
        opcode::READ => body.extend([b'x'; 64]),
        opcode::RELEASE | opcode::FLUSH => {}
        _ => error = -38,
    }
    let len = u32::try_from(16 + body.len())?;
    let mut reply = Vec::with_capacity(16 + body.len());
    reply.extend(len.to_ne_bytes());
    reply.extend(error.to_ne_bytes());
    longs(&mut reply, &[long(request, 8)]);
    reply.extend(body);
    match device.write(&reply) {
        // ENOENT: the caller was killed meanwhile.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// `struct fuse_init_out` of protocol 7.31: no flags, 128 KiB writes.
fn init(body: &mut Vec<u8>) {
    words(body, &[7, 31, 0, 0, 0x0009_000c, 1 << 17, 1, 1 << 16]);
    words(body, &[0; 8]);
}

/// `struct fuse_attr`: a directory for node 1, else a file of 4 KiB.
fn attributes(body: &mut Vec<u8>, node: u64) {
    let mode = if node == 1 { 0o040_755 } else { 0o100_644 };
    longs(body, &[node, 4_096, 8, 0, 0, 0]);
    words(body, &[0, 0, 0, mode, 1, 0, 0, 0, 4_096, 0]);
}

fn words(to: &mut Vec<u8>, words: &[u32]) {
    to.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
}

fn longs(to: &mut Vec<u8>, longs: &[u64]) {
    to.extend(longs.iter().flat_map(|long| long.to_ne_bytes()));
}
