//! Reads what strace wrote about the observer and finds every call that could have touched an
//! observed mount.

use std::path::Path;

/// What a trace shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls that named a path.
    pub calls: usize,
    /// Those that should not have been made, as strace wrote them.
    pub violations: Vec<String>,
}

/// Links in `/proc/PID` that lead into other file systems: to read where they point is harmless, to
/// follow them is not.
const MAGIC_LINKS: [&str; 4] = ["cwd", "root", "exe", "fd"];

/// Files of other processes whose reading waits for their memory map, which a process that faults on
/// a dead mount holds.
const MEMORY_FILES: [&str; 5] = ["cmdline", "environ", "maps", "smaps", "smaps_rollup"];

/// Judges what `strace -f -y -e trace=%file` wrote about the process `own_pid`.
pub fn judge(trace: &str, own_pid: u32, observed: &[&Path]) -> Report {
    let mut report = Report::default();
    for line in trace.lines() {
        let Some((call, arguments)) = call_of(line) else {
            continue;
        };
        let paths = paths_of(call, arguments);
        report.calls += usize::from(!paths.is_empty());
        let reads_link = call.starts_with("readlink");
        if takes_out_of_its_table(call, arguments) {
            continue;
        }
        let own = Path::new("/proc").join(own_pid.to_string());
        if paths.iter().any(|path| {
            let is_on = |directory: &Path| Path::new(path).starts_with(directory);
            let follows = follows_magic_link(path, reads_link) || reads_memory_file(path);
            observed.iter().any(|mount| is_on(mount)) || (follows && !is_on(&own))
        }) {
            report.violations.push(line.to_owned());
        }
    }
    report
}

/// Name and arguments of a call as it is entered; `None` for exits, signals and resumed calls, whose
/// paths are results.
fn call_of(line: &str) -> Option<(&str, &str)> {
    // `-f -o` begins each line with the thread's id.
    let line = line
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start();
    let (call, arguments) = line.split_once('(')?;
    let is_name = call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && !call.is_empty()).then_some((call, arguments))
}

/// Whether a call only takes a mount out of the table that the process has made for itself: no file
/// system is asked for its mount point (`LOOKUP_MOUNTPOINT`, `fs/namei.c`).
fn takes_out_of_its_table(call: &str, arguments: &str) -> bool {
    call == "umount2" && arguments.contains("MNT_DETACH|UMOUNT_NOFOLLOW")
}

/// The paths a call names, absolute where strace could tell the directory they start from.
fn paths_of(call: &str, arguments: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut base = "";
    let mut rest = arguments;
    while let Some(at) = rest.find(['"', '<']) {
        let (quote, after) = rest.split_at(at);
        let is_path = after.starts_with('"');
        let inside = after.get(1..).unwrap_or_default();
        let Some(end) = inside.find(if is_path { '"' } else { '>' }) else {
            break;
        };
        let (text, after) = inside.split_at(end);
        if is_path {
            paths.push(join(base, text));
            // The second string of readlink is its result.
            if call.starts_with("readlink") {
                break;
            }
        } else if quote.ends_with(|c: char| c.is_ascii_digit()) || quote.ends_with("AT_FDCWD") {
            base = text;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    paths
}

fn join(base: &str, path: &str) -> String {
    Path::new(base).join(path).to_string_lossy().into_owned()
}

fn follows_magic_link(path: &str, reads_link: bool) -> bool {
    let mut parts = parts_below_a_process(path);
    let Some(link) = parts.next().filter(|part| MAGIC_LINKS.contains(part)) else {
        return false;
    };
    let below = parts.count();
    // `fd` itself is a directory of links; each other one is a link itself.
    let links_named = if link == "fd" { below } else { below + 1 };
    links_named > 1 || (links_named == 1 && !reads_link)
}

fn reads_memory_file(path: &str) -> bool {
    let file = parts_below_a_process(path).next();
    file.is_some_and(|file| MEMORY_FILES.contains(&file))
}

/// What follows `/proc/PID` or `/proc/PID/task/TID` in a path; nothing for our own process.
fn parts_below_a_process(path: &str) -> std::vec::IntoIter<&str> {
    let mut parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_process = parts.len() > 2
        && parts.first() == Some(&"proc")
        && parts
            .get(1)
            .is_some_and(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_process {
        return Vec::new().into_iter();
    }
    parts.drain(..2);
    if parts.first() == Some(&"task") && parts.len() > 2 {
        parts.drain(..2);
    }
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_violation(line: &str) -> bool {
        let report = judge(line, 12, &[Path::new("/mnt/a")]);
        assert_eq!(report.calls, 1, "{line}");
        !report.violations.is_empty()
    }

    #[test]
    fn a_path_on_or_below_an_observed_mount_is_found_however_it_is_named() {
        for line in [
            r#"12 openat(AT_FDCWD</>, "/mnt/a", O_RDONLY) = 3</mnt/a>"#,
            r#"12 newfstatat(AT_FDCWD</root>, "/mnt/a/b/c", {st_mode=S_IFREG|0644, st_size=1, ...}, 0) = 0"#,
            r#"12 statx(7</mnt>, "a/b", AT_STATX_SYNC_AS_STAT, STATX_ALL, {...}) = 0"#,
            r#"12 openat(AT_FDCWD</mnt/a>, "b", O_RDONLY <unfinished ...>"#,
            r#"12 readlink("/mnt/a/link", "/etc/passwd", 4095) = 11"#,
            r#"statfs("/mnt/a", {f_type=FUSE_SUPER_MAGIC, ...}) = 0"#,
            r#"12 openat(AT_FDCWD</>, "/proc/99/cwd", O_RDONLY) = 3"#,
            r#"12 openat(AT_FDCWD</>, "/proc/99/root/etc/passwd", O_RDONLY) = 3"#,
            r#"12 readlink("/proc/99/cwd/link", "x", 4095) = 1"#,
            r#"12 newfstatat(AT_FDCWD</>, "/proc/99/task/100/fd/3", {...}, 0) = 0"#,
            r#"12 openat(AT_FDCWD</>, "/proc/99/cmdline", O_RDONLY) = 3"#,
            r#"12 openat(5</proc/99>, "maps", O_RDONLY) = 3"#,
        ] {
            assert!(is_violation(line), "{line}");
        }
    }

    #[test]
    fn what_the_observer_may_do_is_no_violation() {
        for line in [
            r#"12 openat(AT_FDCWD</>, "/proc/self/mountinfo", O_RDONLY|O_CLOEXEC) = 3</proc/12/mountinfo>"#,
            r#"12 readlink("/proc/99/cwd", "/mnt/a/deep", 4095) = 11"#,
            r#"12 umount2("/mnt/a", MNT_DETACH|UMOUNT_NOFOLLOW) = 0"#,
            r#"12 readlinkat(AT_FDCWD</>, "/proc/99/fd/3", "/mnt/a/file", 4095) = 11"#,
            r#"12 openat(AT_FDCWD</>, "/proc/99/fd", O_RDONLY|O_DIRECTORY) = 3"#,
            r#"12 openat(AT_FDCWD</>, "/proc/99/mountinfo", O_RDONLY) = 3"#,
            r#"12 openat(AT_FDCWD</>, "/proc/self/maps", O_RDONLY) = 3"#,
            r#"13 newfstatat(3</proc/12/maps>, "", {st_mode=S_IFREG|0444, ...}, AT_EMPTY_PATH) = 0"#,
            r#"12 openat(AT_FDCWD</>, "/mnt/another", O_RDONLY) = 3"#,
            r#"12 readlink("/proc/99/ns/mnt", "mnt:[4026531841]", 4095) = 16"#,
        ] {
            assert!(!is_violation(line), "{line}");
        }
    }

    #[test]
    fn results_and_signals_are_no_calls() {
        for line in [
            r#"12 <... readlink resumed>"/mnt/a/x", 4095) = 8"#,
            "12 --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER} ---",
            "12 +++ exited with 0 +++",
        ] {
            assert_eq!(
                judge(line, 12, &[Path::new("/mnt/a")]),
                Report::default(),
                "{line}"
            );
        }
    }
}
