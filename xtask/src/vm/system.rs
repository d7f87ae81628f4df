//! `cargo xtask test package`: the Debian package in a guest that systemd runs.
//!
//! Its root is a Debian made by debootstrap, once, and kept below `target/vm`; what a guest writes to it
//! is thrown away.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    image,
    kernels::{Archive, Kernel, is_there, succeed},
    matrix,
    qemu::{self, Verdict},
    test,
};
use crate::{dist, steps};

/// The release of the root, and the kernel it has.
const RELEASE: &str = "trixie";
const SERIES: &str = "6.12";
/// Besides what every Debian has.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,kmod,procps,bindfs,mount,ca-certificates";
/// An emulated processor needs a minute to start systemd, and as long for each installation.
const TIMEOUT: Duration = Duration::from_mins(12);
const MEMORY_MIB: u32 = 1024;
const ROOT_MIB: u32 = 700;
const TRIAL_MIB: u32 = 128;

/// Not needed, and slow to start in an emulator.
const MASKED: [&str; 14] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "systemd-logind.service",
    "systemd-random-seed.service",
];

/// Runs what the second drive holds, and says it on the second serial line.
const UNIT: &str = "[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
ExecStart=/bin/sh -c 'mkdir -p /trial; mount -o ro /dev/nvme0n2 /trial; /bin/bash /trial/package.sh; systemctl poweroff --force --force'
[Install]
WantedBy=multi-user.target
";

/// Installs, upgrades and purges the package. `false` where there is no mirror, or no privilege to make
/// the root.
pub(crate) fn run() -> Result<()> {
    let directory = steps::workspace_root()?.join("target/vm");
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: THE PACKAGE IS NOT TESTED: debootstrap needs root");
        return Ok(());
    }
    let archive = match Archive::open(&directory) {
        Ok(archive) => archive,
        Err(error) if super::is_ci() => return Err(error),
        Err(error) => {
            println!("SKIPPED: THE PACKAGE IS NOT TESTED: {error:#}");
            return Ok(());
        }
    };
    let kernel = archive.kernel(SERIES)?.context("the mirror's kernel")?;
    let directory = directory.join("system");
    fs::create_dir_all(&directory)?;
    let root = root(&directory, archive.mirror())?;
    let trial = trial(&directory)?;
    boot(&directory, &kernel, &[&root, &trial])
}

/// The first drive: kept until anything about it changes.
fn root(directory: &Path, mirror: &str) -> Result<PathBuf> {
    let image = directory.join(format!("{RELEASE}.ext4"));
    let stamp = directory.join("made-of");
    let made_of = format!("{PACKAGES}\n{UNIT}\n{MASKED:?}\n");
    if is_there(&image) && fs::read_to_string(&stamp).is_ok_and(|old| old == made_of) {
        return Ok(image);
    }
    println!("    making a Debian {RELEASE}");
    let tree = directory.join("root");
    if is_there(&tree) {
        fs::remove_dir_all(&tree)?;
    }
    let include = format!("--include={PACKAGES}");
    succeed(
        Command::new("debootstrap")
            .args(["--variant=minbase", &include, RELEASE])
            .arg(&tree)
            .arg(mirror),
    )?;
    let units = tree.join("etc/systemd/system");
    for unit in MASKED {
        symlink("/dev/null", units.join(unit))?;
    }
    fs::write(units.join("trial.service"), UNIT)?;
    let wanted = units.join("multi-user.target.wants");
    fs::create_dir_all(&wanted)?;
    symlink("../trial.service", wanted.join("trial.service"))?;
    for superfluous in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        fs::remove_dir_all(tree.join(superfluous))?;
    }
    pack(&tree, &image, ROOT_MIB)?;
    fs::remove_dir_all(&tree)?;
    fs::write(stamp, made_of)?;
    Ok(image)
}

/// The second: the package, a later version of it, and what is done with them.
fn trial(directory: &Path) -> Result<PathBuf> {
    let programs = image::build()?;
    let program = programs.get("mount-observer").context("the program")?;
    let tree = directory.join("trial");
    fs::create_dir_all(&tree)?;
    for (name, version) in [("1.deb", None), ("2.deb", Some("9.9.9-1"))] {
        fs::copy(dist::package(program, version)?, tree.join(name))?;
    }
    let script = steps::workspace_root()?.join("tests/system/package.sh");
    fs::copy(script, tree.join("package.sh"))?;
    let image = directory.join("trial.ext4");
    pack(&tree, &image, TRIAL_MIB)?;
    Ok(image)
}

/// Makes a file system of a directory.
fn pack(tree: &Path, image: &Path, mib: u32) -> Result<()> {
    if is_there(image) {
        fs::remove_file(image)?;
    }
    succeed(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(tree)
            .arg(image)
            .arg(format!("{mib}M")),
    )
}

fn boot(directory: &Path, kernel: &Kernel, drives: &[&Path]) -> Result<()> {
    let mut guests = matrix::select(&[SERIES.to_owned()])?;
    let guest = guests.first_mut().context("a guest")?;
    guest.append = "root=/dev/nvme0n1 rw systemd.show_status=0";
    let ended = qemu::run(&qemu::Start {
        guest,
        kernel: &kernel.image,
        initrd: None,
        drives,
        directory,
        memory_mib: MEMORY_MIB,
        timeout: TIMEOUT,
        is_kvm_wanted: false,
    })?;
    let run = ended.report.run("package").context("nothing was run")?;
    println!(
        "    Debian {RELEASE}, {}: {:?} in {:.0} s",
        kernel.release,
        ended.verdict,
        ended.took.as_secs_f64()
    );
    test::show_run(run);
    ensure!(
        ended.verdict == Verdict::Passed && ended.report.is_done && run.is_ok(),
        "the package failed; the console: {}",
        ended.console.display()
    );
    Ok(())
}
