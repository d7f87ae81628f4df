//! The operations measured, and the tables.

use std::{
    fs::{self, File},
    hint::black_box,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt},
    },
    path::Path,
};

use anyhow::{Context, Result};
use mount_observer::{config::StatxMode, superblock::Dev};
use nix::{fcntl::AtFlags, sys::stat::fstatat, unistd::getppid};

use crate::{
    attached::{EMPTY_BOTH, EMPTY_EXIT, EMPTY_FUSE, Mode, Place, Wanted},
    daemon,
    measure::{Row, cpu_time, ns_per_call, print, wall_time},
    server::{FILE, Server},
};

const OFF: Mode = Mode::Observer(StatxMode::Off);
const ERRORS: Mode = Mode::Observer(StatxMode::Errors);
const FULL: Mode = Mode::Observer(StatxMode::Full);

/// Modes of the FUSE table.
const FUSE: &[(&str, Mode)] = &[
    ("nothing", Mode::Nothing),
    ("nothing again", Mode::Nothing),
    ("empty programs", EMPTY_FUSE),
    ("observer, path syscalls off", OFF),
];

/// Modes of the tables about a trace: what it adds to the probes alone.
const TRACES: &[(&str, Mode)] = &[
    ("observer, path syscalls off", OFF),
    ("the same again", OFF),
    (
        "trace, filter that matches nothing",
        Mode::Trace(StatxMode::Off, Wanted::Nothing),
    ),
    (
        "trace, unfiltered",
        Mode::Trace(StatxMode::Off, Wanted::All),
    ),
];

/// The same with path syscalls.
const STAT_TRACES: &[(&str, Mode)] = &[
    ("observer, full", FULL),
    ("the same again", FULL),
    (
        "trace, filter that matches nothing",
        Mode::Trace(StatxMode::Full, Wanted::Nothing),
    ),
    (
        "trace, unfiltered",
        Mode::Trace(StatxMode::Full, Wanted::All),
    ),
];

/// Modes of the system call tables.
const SYSCALLS: &[(&str, Mode)] = &[
    ("nothing", Mode::Nothing),
    ("nothing again", Mode::Nothing),
    ("empty program on sys_exit", EMPTY_EXIT),
    ("empty programs on both ends", EMPTY_BOTH),
    ("observer, off", OFF),
    ("observer, errors", ERRORS),
    ("observer, full", FULL),
];

/// Modes of the table about a dead mount.
const DEAD: &[(&str, Mode)] = &[
    ("nothing", Mode::Nothing),
    ("nothing again", Mode::Nothing),
    ("empty program on sys_exit", EMPTY_EXIT),
    ("observer, errors", ERRORS),
    ("observer, full", FULL),
];

/// Measures and prints everything.
pub(crate) fn tables(directory: &Path, rounds: usize) -> Result<()> {
    let mut server = Server::start(&directory.join("fuse"))?;
    let place = place(&server.mount_point)?;
    let path = server.mount_point.join(FILE);

    let file = File::open(&path)?;
    let mut buffer = [0; 64];
    let rows = interleave(FUSE, rounds, &place, || {
        ns_per_call(wall_time, 30, 300, || {
            black_box(file.read_at(&mut buffer, 0).is_ok());
        })
    })?;
    print("read of one request (wall clock)", &rows);
    let rows = interleave(FUSE, rounds, &place, || {
        ns_per_call(wall_time, 30, 300, || stat(&path))
    })?;
    print("stat on the FUSE mount, two requests (wall clock)", &rows);

    daemon::table(directory, rounds, || {
        for _ in 0..10 {
            stat(&path);
        }
    })?;

    let rows = interleave(TRACES, rounds, &place, || {
        ns_per_call(wall_time, 30, 300, || {
            black_box(file.read_at(&mut buffer, 0).is_ok());
        })
    })?;
    print("traced: read of one request (wall clock)", &rows);
    let rows = interleave(STAT_TRACES, rounds, &place, || {
        ns_per_call(wall_time, 30, 300, || stat(&path))
    })?;
    print(
        "traced: stat on the FUSE mount, two requests (wall clock)",
        &rows,
    );

    let local = local_file(directory)?;
    let rows = interleave(SYSCALLS, rounds, &place, || {
        ns_per_call(cpu_time, 40, 2_000, || stat(&local))
    })?;
    print("stat of a local file (CPU time)", &rows);
    let rows = interleave(SYSCALLS, rounds, &place, || {
        ns_per_call(cpu_time, 40, 2_000, || {
            black_box(getppid());
        })
    })?;
    print("getppid, which is none of our business (CPU time)", &rows);

    drop(file);
    server.kill()?;
    let rows = interleave(DEAD, rounds, &place, || {
        ns_per_call(cpu_time, 40, 2_000, || stat(&path))
    })?;
    print("stat on the dead mount (CPU time)", &rows);
    Ok(())
}

/// Measures every mode in every round; the order rotates.
fn interleave(
    modes: &[(&'static str, Mode)],
    rounds: usize,
    place: &Place,
    mut measure: impl FnMut() -> f64,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = modes
        .iter()
        .map(|&(name, _)| Row {
            name,
            rounds: Vec::new(),
        })
        .collect();
    for round in 0..rounds {
        for turn in 0..modes.len() {
            let index = (turn + round) % modes.len();
            let (Some((_, mode)), Some(row)) = (modes.get(index), rows.get_mut(index)) else {
                continue;
            };
            let attached = mode.attach(place)?;
            row.rounds.push(measure());
            drop(attached);
        }
    }
    Ok(rows)
}

fn stat(path: &Path) {
    let found = fstatat(nix::fcntl::AT_FDCWD, path, AtFlags::empty());
    black_box(found.is_ok());
}

/// A file four directories deep on the machine's own file system.
fn local_file(directory: &Path) -> Result<std::path::PathBuf> {
    let deep = directory.join("a/b");
    fs::create_dir_all(&deep)?;
    let path = deep.join(FILE);
    fs::write(&path, "x")?;
    Ok(path)
}

/// The superblock a path is on.
#[expect(
    clippy::disallowed_methods,
    reason = "the benchmark's own healthy mount"
)]
pub(crate) fn device(path: &Path) -> Result<Dev> {
    let device = fs::metadata(path)?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    Dev::from_parts(u32::try_from(major)?, u32::try_from(minor)?).context("no device number")
}

fn place(mount_point: &Path) -> Result<Place> {
    let link = fs::read_link("/proc/self/ns/mnt")?;
    let number = link
        .to_string_lossy()
        .replace(|c: char| !c.is_ascii_digit(), "");
    Ok(Place {
        dev: device(mount_point)?,
        root: device(Path::new("/"))?,
        mnt_ns: number.parse()?,
        path: mount_point.as_os_str().as_bytes().to_vec(),
    })
}
