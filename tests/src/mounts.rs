//! File systems to break: our own, bindfs, and sshfs over a local sftp-server.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use nix::sys::signal::{self, Signal};

use crate::{
    needs,
    process::{self, Process},
    sandbox::{FUSECTL, Sandbox, beside_us},
    wait::within,
};

/// For a server to mount, or to answer a command.
const MOUNT_DEADLINE: Duration = Duration::from_secs(10);

/// One FUSE mount and the process that serves it.
#[derive(Clone, Debug)]
pub struct FuseMount {
    /// The server.
    pub server: Process,
    /// Where it is mounted.
    pub path: PathBuf,
    /// The superblock's number as mountinfo shows it, `0:52`.
    pub dev: String,
}

impl FuseMount {
    /// A path below the mount point.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Aborts the connection, as `echo 1 > .../abort` does.
    ///
    /// # Panics
    /// When fusectl refuses.
    pub fn abort(&self) {
        fs::write(self.control("abort"), "1").expect("abort the connection");
    }

    /// Requests that wait for an answer or a slot, as fusectl counts them.
    ///
    /// # Panics
    /// When fusectl does not know the connection.
    pub fn waiting(&self) -> u32 {
        self.shown_waiting().expect("fusectl waiting")
    }

    /// The same; `None` where fusectl is not mounted.
    fn shown_waiting(&self) -> Option<u32> {
        let text = fs::read_to_string(self.control("waiting")).ok()?;
        Some(text.trim().parse().expect("a number"))
    }

    fn control(&self, file: &str) -> PathBuf {
        let (_, minor) = self.dev.split_once(':').expect("major:minor");
        Path::new(FUSECTL).join(minor).join(file)
    }
}

impl AsRef<Self> for FuseMount {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// A [`FaultFs`](crate::faultfs::FaultFs) in a process of its own.
#[derive(Debug)]
pub struct FaultFsMount {
    /// Where and who.
    pub mount: FuseMount,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl FaultFsMount {
    /// Sends a command (see `src/bin/faultfs.rs`) and returns the answer.
    ///
    /// # Panics
    /// When the server does not understand, or is gone.
    #[track_caller]
    pub fn tell(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").expect("the server takes commands");
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("the server answers");
        assert!(
            answer.ends_with('\n') && !answer.starts_with("error"),
            "{command}: {answer:?}"
        );
        answer.trim_end().to_owned()
    }

    /// Ends the server as a crash would: nothing is answered, nothing is unmounted.
    ///
    /// # Panics
    /// When it does not end.
    pub fn crash(&mut self) {
        self.end_by("exit");
    }

    /// Has the server take so many MiB of memory that the kernel kills it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn eat(&mut self, mebibytes: usize) {
        self.end_by(&format!("eat {mebibytes}"));
    }

    fn end_by(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("the server takes commands");
        let ended = self.mount.server.exited_within(MOUNT_DEADLINE);
        assert!(ended.is_some(), "the server is still there");
    }
}

impl AsRef<FuseMount> for FaultFsMount {
    fn as_ref(&self) -> &FuseMount {
        &self.mount
    }
}

impl std::ops::Deref for FaultFsMount {
    type Target = FuseMount;

    fn deref(&self) -> &FuseMount {
        &self.mount
    }
}

/// sshfs, and the sftp-server behind it.
#[derive(Debug)]
pub struct SshfsMount {
    /// Where, and sshfs itself.
    pub mount: FuseMount,
    /// Process id of sftp-server.
    backend: u32,
}

impl SshfsMount {
    /// Stops sftp-server.
    pub fn stop_backend(&self) {
        process::stop(self.backend);
    }

    /// Sends a signal to sftp-server.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal_backend(&self, signal: Signal) {
        process::signal(self.backend, signal);
    }
}

impl AsRef<FuseMount> for SshfsMount {
    fn as_ref(&self) -> &FuseMount {
        &self.mount
    }
}

impl std::ops::Deref for SshfsMount {
    type Target = FuseMount;

    fn deref(&self) -> &FuseMount {
        &self.mount
    }
}

impl Drop for SshfsMount {
    /// sftp-server ends with its pipe, unless the test stopped it.
    fn drop(&mut self) {
        let pid = i32::try_from(self.backend).expect("pid_max is below 2^22");
        // Most often it is gone already.
        signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
}

impl Sandbox {
    /// Mounts a `FaultFs` on a new directory of this name.
    pub fn faultfs(&self, name: impl AsRef<OsStr>) -> FaultFsMount {
        self.faultfs_with(name, &["--allow-other"])
    }

    /// The same with the program's own options (see `src/bin/faultfs.rs`).
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn faultfs_with(&self, name: impl AsRef<OsStr>, options: &[&str]) -> FaultFsMount {
        let path = self.directory(name);
        let server = self.spawn(beside_us("faultfs"), |command| {
            command
                .args(options)
                .arg(&path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
        });
        let (commands, stdout) = {
            let mut child = server.child().borrow_mut();
            (child.stdin.take(), child.stdout.take())
        };
        let mut answers = BufReader::new(stdout.expect("stdout is piped"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("the server speaks");
        assert_eq!(
            line,
            "ready\n",
            "{server:?} did not mount {}",
            path.display()
        );
        FaultFsMount {
            mount: mounted(server, path),
            commands: commands.expect("stdin is piped"),
            answers,
        }
    }

    /// Mounts bindfs over a fresh directory with one file, `file`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn bindfs(&self, name: &str, options: &[&str]) -> FuseMount {
        let source = self.directory(format!("{name}.source"));
        fs::write(source.join("file"), "content").expect("write a file");
        let path = self.directory(name);
        let program = needs::program("bindfs").expect("bindfs was needed");
        let server = self.spawn(program, |command| {
            command.arg("-f").args(options).arg(&source).arg(&path);
        });
        mounted(server, path)
    }

    /// Mounts sshfs over a fresh directory with one file, `file`. Its "ssh" is a script that becomes
    /// sftp-server, so that no network is needed.
    ///
    /// # Panics
    /// When it cannot.
    pub fn sshfs(&self, name: &str, options: &[&str]) -> SshfsMount {
        let source = self.directory(format!("{name}.source"));
        fs::write(source.join("file"), "content").expect("write a file");
        let path = self.directory(name);
        let (pid_file, script) = (
            self.path(format!("{name}.pid")),
            self.path(format!("{name}.ssh")),
        );
        let server_program = needs::sftp_server().expect("sftp-server was needed");
        let text = format!(
            "#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec {1}\n",
            pid_file.display(),
            server_program.display()
        );
        fs::write(&script, text).expect("write the script");
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("chmod");
        let program = needs::program("sshfs").expect("sshfs was needed");
        let server = self.spawn(program, |command| {
            command
                .arg("-f")
                .arg(format!("-ossh_command={}", script.display()))
                .args(options)
                .arg(format!("localhost:{}", source.display()))
                .arg(&path)
                // It complains about a backend that the test broke on purpose.
                .stderr(Stdio::null());
        });
        let backend = within(MOUNT_DEADLINE, "sftp-server starts", || {
            fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
        });
        SshfsMount {
            mount: mounted(server, path),
            backend,
        }
    }
}

fn mounted(server: Process, path: PathBuf) -> FuseMount {
    let dev = within(MOUNT_DEADLINE, &format!("{server:?} mounts"), || {
        assert_eq!(
            server.exited_within(Duration::ZERO),
            None,
            "{server:?} ended"
        );
        device_of(&path)
    });
    let mount = FuseMount { server, path, dev };
    // INIT is sent before the mount can be seen; calls that come before its answer wait for that.
    within(MOUNT_DEADLINE, &format!("{mount:?} is initialised"), || {
        mount
            .shown_waiting()
            .is_none_or(|waiting| waiting == 0)
            .then_some(())
    });
    mount
}

/// `major:minor` of what is mounted on exactly this path, the topmost if there are several.
///
/// # Panics
/// When mountinfo cannot be read.
pub fn device_of(path: &Path) -> Option<String> {
    let mountinfo = fs::read("/proc/thread-self/mountinfo").expect("mountinfo");
    mountinfo
        .split(|&byte| byte == b'\n')
        .rev()
        .filter_map(|line| {
            let mut fields = line.split(|&byte| byte == b' ').skip(2);
            let (dev, mount_point) = (fields.next()?, fields.nth(1)?);
            (unescape(mount_point).as_os_str() == path.as_os_str()).then_some(dev)
        })
        .find_map(|dev| String::from_utf8(dev.to_vec()).ok())
}

/// The same in the mount namespace of a process, for a path that mountinfo writes as it is.
pub fn device_in_namespace_of(pid: u32, path: &Path) -> Option<String> {
    let mountinfo = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let wanted = path.to_str()?;
    mountinfo
        .lines()
        .rev()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(4) == Some(&wanted))
        .and_then(|fields| fields.get(2).map(|&dev| dev.to_owned()))
}

/// mountinfo writes blank, tab, newline and backslash as three octal digits (`mangle`,
/// `fs/seq_file.c`).
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        rest = match octal {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
        bytes.push(octal.unwrap_or(byte));
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn octal_escapes_become_bytes() {
        assert_eq!(
            unescape(br"/a\040b\012c\134d"),
            OsStr::from_bytes(b"/a b\nc\\d")
        );
        assert_eq!(unescape(b"/plain\\"), OsStr::from_bytes(b"/plain\\"));
    }

    #[test]
    fn the_root_has_a_device() {
        let dev = device_of(Path::new("/")).unwrap();
        assert!(dev.split_once(':').is_some(), "{dev}");
    }
}
