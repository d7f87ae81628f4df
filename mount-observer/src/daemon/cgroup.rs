//! `/proc/PID/cgroup`: the kernel writes it from its own lists (`proc_cgroup_show`,
//! `kernel/cgroup/cgroup.c`), asks no filesystem and takes no lock of the process. It waits for changes
//! of control groups to end, so it is read beside the loop.

use std::{fs::File, io::Read};

/// A process in every hierarchy of version 1 has some 14 lines.
const BYTES_MAX: u64 = 16 << 10;

/// The control groups of each process; `None` of one that has gone, or may not be seen.
pub fn read(pids: Vec<u32>) -> Vec<(u32, Option<Vec<u8>>)> {
    pids.into_iter().map(|pid| (pid, of(pid))).collect()
}

fn of(pid: u32) -> Option<Vec<u8>> {
    let file = File::open(format!("/proc/{pid}/cgroup")).ok()?;
    let mut content = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut content).ok()?;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_some_group_and_nobody_in_none() {
        let own = std::process::id();
        let read = read(vec![own, u32::MAX]);
        assert!(
            read[0]
                .1
                .as_ref()
                .is_some_and(|content| !content.is_empty())
        );
        assert_eq!(read[1], (u32::MAX, None));
    }
}
