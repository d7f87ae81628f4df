//! Calls that no 64-bit system call of the caller shows.

use mount_observer_tests::{
    FaultFsMount, Observer, Sandbox, host_test, sandbox::beside_us, scene::SOON,
};
use nix::libc::ENOTCONN;

use crate::{has_probes, skip, wait_until_dead, wait_until_watched};

const CALLS: u64 = 7;

#[test]
fn a_stat_through_io_uring_is_counted_on_its_superblock() {
    host_test(&[], |sandbox| expect_counted(sandbox, "uring"));
}

#[test]
fn a_32_bit_stat_is_counted_on_its_superblock() {
    host_test(&[], |sandbox| expect_counted(sandbox, "compat"));
}

fn expect_counted(sandbox: &Sandbox, program: &str) {
    let mut mount = sandbox.faultfs("mount");
    if let Err(lack) = run(sandbox, program, &mount) {
        return skip(&lack);
    }
    let observer = Observer::start(sandbox, "");
    wait_until_watched(&observer, &mount.dev);
    let needed = ["stat_enter", "stat_exit", "walk_end", "attr_enter"];
    if !has_probes(&observer, &needed) {
        return;
    }
    mount.crash();
    wait_until_dead(&observer, &mount.dev);
    let report = run(sandbox, program, &mount);
    assert_eq!(report, Ok(format!("{ENOTCONN} {CALLS}\n")));
    let seen = observer.wait_for(&mount.dev, SOON, "every failure", |seen| {
        seen.failed_calls("ENOTCONN") >= CALLS
    });
    assert_eq!(seen.failed_calls("ENOTCONN"), CALLS, "{:#}", seen.0);
}

/// The report of such calls, or why this kernel takes none.
fn run(sandbox: &Sandbox, program: &str, mount: &FaultFsMount) -> Result<String, String> {
    let caller = sandbox.spawn(beside_us(program), |command| {
        command
            .arg(mount.join("file"))
            .arg(format!("--repeat={CALLS}"))
            .stdout(std::process::Stdio::piped());
    });
    let report = caller.output_within(SOON);
    let status = caller.exited_within(SOON);
    match status {
        Some(status) if status.success() => Ok(report),
        ended => Err(format!("{program} ended with {ended:?}")),
    }
}
