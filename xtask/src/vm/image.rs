//! The first root of a guest: our programs, and the few of Debian's that the tests use.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    cpio::Archive,
    job::Job,
    kernels::{Kernel, is_there},
    modules,
};
use crate::steps;

/// Where our programs are in a guest. Not in `deps`: tests look for each other beside themselves.
pub(super) const OURS: &str = "/opt/mount-observer";

/// Static, so that it runs whatever libraries there are.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const STATIC: &str = "-C target-feature=+crt-static";

/// Test programs of `tests/` that guests run.
const TESTS: [&str; 4] = ["rig", "host", "vm", "module"];

/// Programs of the machine that tests, bindfs and sshfs start. The first that is there is taken.
const TOOLS: [&[&str]; 30] = [
    &["/bin/sh"],
    &["/bin/bash"],
    &["/bin/cat"],
    &["/bin/chmod"],
    &["/bin/dmesg"],
    &["/bin/echo"],
    &["/bin/kill"],
    &["/bin/ln"],
    &["/bin/ls"],
    &["/bin/mkdir"],
    &["/bin/mount"],
    &["/bin/mv"],
    &["/bin/rm"],
    &["/bin/sleep"],
    &["/bin/true"],
    &["/bin/umount"],
    &["/usr/bin/env"],
    &["/usr/bin/nsenter"],
    &["/usr/bin/head"],
    &["/usr/bin/tail"],
    &["/usr/bin/readlink", "/bin/readlink"],
    &["/usr/bin/setpriv"],
    &["/usr/bin/stat"],
    &["/usr/bin/unshare"],
    &["/usr/bin/bindfs"],
    &["/usr/bin/fusermount3", "/bin/fusermount3"],
    &["/usr/bin/sshfs"],
    &["/usr/bin/strace"],
    &["/usr/sbin/bpftool", "/sbin/bpftool"],
    &[
        "/usr/lib/openssh/sftp-server",
        "/usr/libexec/openssh/sftp-server",
    ],
];

/// What the C library itself opens while a program runs, from the directory it is in: to cancel a
/// thread, and before glibc 2.34 to look up a user.
const OPENED_LATER: [&str; 2] = ["libgcc_s.so.1", "libnss_files.so.2"];

/// Directories of the root besides those of files.
const DIRECTORIES: [&str; 12] = [
    "dev", "etc", "guest", "mnt", "opt", "proc", "root", "run", "sys", "tmp", "usr", "var",
];

/// Links of the root: Debian's merged `/usr`, and what old programs look for.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("etc/mtab", "/proc/self/mounts"),
];

/// Users that servers and tests look up.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Names of the test programs.
pub(super) fn tests() -> &'static [&'static str] {
    &TESTS
}

/// Builds what guests run: program names and the files they were built into.
pub(super) fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = steps::cargo(&[
        "build",
        "--quiet",
        "--profile=guest",
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
        "--package=mount-observer",
        "--package=mount-observer-tests",
        "--features=mount-observer-tests/bench",
        "--bins",
    ])?;
    // The linker's choice needs `--target`: procedural macros cannot be static.
    cargo.env("RUSTFLAGS", STATIC);
    for test in TESTS {
        cargo.args(["--test", test]);
    }
    let output = cargo
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo build: {}", output.status);
    let messages = String::from_utf8(output.stdout).context("cargo's messages")?;
    let programs = executables(&messages)?;
    for name in TESTS.iter().chain(&["guest", "mount-observer"]) {
        ensure!(programs.contains_key(*name), "cargo built no {name}");
    }
    Ok(programs)
}

/// The programs in cargo's messages, by the name of their target.
fn executables(messages: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut programs = BTreeMap::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("a message of cargo")?;
        let name = message.pointer("/target/name").and_then(Value::as_str);
        let path = message.pointer("/executable").and_then(Value::as_str);
        if let (Some(name), Some(path)) = (name, path) {
            programs.insert(name.to_owned(), path.into());
        }
    }
    Ok(programs)
}

/// The part that all guests share.
pub(super) fn base(programs: &BTreeMap<String, PathBuf>) -> Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    for (name, path) in programs {
        files.insert(format!("{OURS}/{name}"), path.clone());
    }
    let guest = programs.get("guest").context("the guest's init")?;
    files.insert("/init".to_owned(), guest.clone());
    files.insert("/sbin/modprobe".to_owned(), guest.clone());
    for paths in TOOLS {
        if let Some(path) = paths.iter().find(|path| is_there(Path::new(path))) {
            files.insert((*path).to_owned(), path.into());
            for library in libraries(Path::new(path))? {
                files.insert(library.clone(), library.into());
            }
        }
    }
    let mut archive = Archive::default();
    for name in DIRECTORIES {
        archive.directory(name)?;
    }
    for (name, target) in LINKS {
        archive.link(name, target)?;
    }
    // The kernel opens it for init before anything is mounted.
    archive.character_device("dev/console", (5, 1))?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    archive.file("etc/group", 0o644, GROUP.as_bytes())?;
    let mut made: Vec<String> = DIRECTORIES.map(str::to_owned).into();
    for (name, path) in files {
        let name = place(&name);
        parents(&mut archive, &name, &mut made)?;
        let data = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        let permissions = fs::File::open(&path)?.metadata()?.permissions().mode() & 0o7777;
        archive.file(&name, permissions, &data)?;
    }
    archive.finish()
}

/// The part of one kernel: its modules, and what is to be done.
pub(super) fn own(kernel: &Kernel, job: &Job) -> Result<Vec<u8>> {
    let modules = modules::closure(&kernel.modules)?;
    let mut archive = Archive::default();
    archive.directory("guest/modules")?;
    archive.file(
        "guest/modules/table",
        0o644,
        modules::table(&modules).as_bytes(),
    )?;
    for module in &modules {
        let name = format!("guest/modules/{}.ko", module.name);
        archive.file(&name, 0o644, &module.object)?;
    }
    archive.file("guest/job", 0o644, job.print().as_bytes())?;
    archive.finish()
}

/// Where a file of the machine goes: `/bin` is a link here, whatever it is there.
fn place(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let top = path.split('/').next().unwrap_or_default();
    if ["bin", "sbin", "lib", "lib64"].contains(&top) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

/// The directories above a file that are not there yet.
fn parents(archive: &mut Archive, name: &str, made: &mut Vec<String>) -> Result<()> {
    for (at, _) in name.match_indices('/') {
        let directory = name.get(..at).unwrap_or_default().to_owned();
        if !made.contains(&directory) {
            archive.directory(&directory)?;
            made.push(directory);
        }
    }
    Ok(())
}

/// What a program is linked with, its loader included. None for a script or a static program.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot run ldd")?;
    let mut libraries = linked(&String::from_utf8_lossy(&output.stdout));
    let libc = libraries.iter().find(|path| path.ends_with("/libc.so.6"));
    let later = libc.map_or_else(Vec::new, |libc| {
        OPENED_LATER
            .map(|name| libc.replace("libc.so.6", name))
            .into()
    });
    libraries.extend(later.into_iter().filter(|path| is_there(Path::new(path))));
    Ok(libraries)
}

/// The paths in `ldd`'s output.
fn linked(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| {
            let path = line.split_once("=>").map_or(line, |(_, path)| path);
            let path = path.split_ascii_whitespace().next()?;
            path.starts_with('/').then(|| path.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_the_vdso_is_not() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibfuse3.so.3 => /lib/x86_64-linux-gnu/libfuse3.so.3 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            linked(output),
            [
                "/lib/x86_64-linux-gnu/libfuse3.so.3",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(linked("\tstatically linked\n"), Vec::<String>::new());
    }

    #[test]
    fn a_program_lands_in_usr_and_the_directories_above_it_come_once() {
        assert_eq!(place("/bin/sh"), "usr/bin/sh");
        assert_eq!(place("/usr/bin/env"), "usr/bin/env");
        assert_eq!(place("/lib64/ld.so"), "usr/lib64/ld.so");
        let (mut archive, mut made) = (Archive::default(), vec!["usr".to_owned()]);
        parents(&mut archive, "usr/lib/x/a", &mut made).unwrap();
        parents(&mut archive, "usr/lib/y/b", &mut made).unwrap();
        assert_eq!(made, ["usr", "usr/lib", "usr/lib/x", "usr/lib/y"]);
    }

    #[test]
    fn programs_are_those_messages_that_name_an_executable() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"host"},"executable":"/t/host-1"}
{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}
{"reason":"build-finished","success":true}
"#;
        let expected = BTreeMap::from([("host".to_owned(), PathBuf::from("/t/host-1"))]);
        assert_eq!(executables(messages).unwrap(), expected);
    }
}
