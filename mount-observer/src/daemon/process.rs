//! The kernel's account of this process, from `/proc/self` (proc(5)).

use std::{fs, io};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::clock;
use crate::{input::BootId, render::metrics::Process};

/// Reads it.
pub fn read() -> io::Result<Process> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let boot_seconds = boot_time(&fs::read_to_string("/proc/stat")?);
    let mut process = parse(&stat, boot_seconds).ok_or(io::ErrorKind::InvalidData)?;
    process.max_fds = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    process.open_fds = open_fds()?;
    Ok(process)
}

/// The boot this is. Where it cannot be read nothing is known to be of the same boot: the time makes
/// one that is nobody else's.
pub fn boot_id() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let read = text.and_then(|text| BootId::parse(&text));
    read.unwrap_or_else(|| BootId(clock::now().wall.0.into()))
}

/// Entries of `/proc/self/fd`; the directory read itself is one of them and not counted.
fn open_fds() -> io::Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "procfs, not an observed mount")]
    let entries = fs::read_dir("/proc/self/fd")?;
    Ok(u64::try_from(entries.count())
        .unwrap_or(u64::MAX)
        .saturating_sub(1))
}

/// Fields 14, 15 (times), 20 (threads), 22 (start), 23 and 24 (memory) of `/proc/PID/stat`, counted
/// after the name, which may hold blanks and parentheses.
fn parse(stat: &str, boot_seconds: u64) -> Option<Process> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
    Some(Process {
        cpu_seconds: seconds(field(14)?.checked_add(field(15)?)?)?,
        open_fds: 0,
        max_fds: 0,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.checked_mul(u64::try_from(page_size()).ok()?)?,
        start_seconds: f64::from(u32::try_from(boot_seconds).ok()?) + seconds(field(22)?)?,
        threads: field(20)?,
    })
}

/// Clock ticks as seconds.
fn seconds(ticks: u64) -> Option<f64> {
    let per_second = clock_ticks_per_second();
    let ns = ticks.checked_mul(1_000_000_000)?.checked_div(per_second)?;
    Some(std::time::Duration::from_nanos(ns).as_secs_f64())
}

/// The line `btime` of `/proc/stat`: seconds since the epoch.
fn boot_time(stat: &str) -> u64 {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 5 0 0 0 150 50 0 0 20 0 4 0 1000 8192 3 0";
        let process = parse(stat, 1_700_000_000).unwrap();
        assert_eq!(process.threads, 4);
        assert_eq!(process.virtual_bytes, 8_192);
        assert_eq!(
            process.resident_bytes,
            3 * u64::try_from(page_size()).unwrap()
        );
        let ticks = f64::from(u32::try_from(clock_ticks_per_second()).unwrap());
        assert!((process.cpu_seconds - 200.0 / ticks).abs() < 1e-6);
        assert!((process.start_seconds - 1_700_000_000.0 - 1_000.0 / ticks).abs() < 1e-3);
        assert_eq!(parse("7 (a) S 1", 0), None);
    }

    #[test]
    fn this_process_is_alive_and_small() {
        let process = read().unwrap();
        assert!(process.threads >= 1 && process.open_fds >= 3, "{process:?}");
        assert!(process.resident_bytes > 100_000, "{process:?}");
        assert!(process.start_seconds > 1.0e9, "{process:?}");
    }
}
