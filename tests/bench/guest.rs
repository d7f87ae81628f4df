//! What a guest tells about its kernel for docs/KERNELS.md: how long the observer takes to start,
//! where its programs are and how much of them the verifier went through, and what they cost as a
//! multiple of empty programs on the same hooks. One JSON document on standard output.
//!
//! An emulated processor's nanoseconds mean nothing; what two programs cost in relation to each
//! other does, roughly.

use std::{
    hint::black_box,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use mount_observer::{
    config::{BpfLogLevel, StatxMode},
    daemon::{
        facts::{self, Gathered},
        kernel::{Attachment, Kernel, Options},
    },
    errno::Errno,
    plan::{self, Purpose},
    superblock::Dev,
};
use mount_observer_tests::http;
use nix::{fcntl::AtFlags, sys::stat::fstatat, unistd::getppid};
use serde_json::{Value, json};

use crate::{
    floor,
    load::device,
    measure::{cpu_time, wall_time},
    server::{FILE, Server},
};

/// Every round attaches everything twice, which takes seconds here.
const ROUNDS: usize = 3;

/// Of so many batches the quickest counts: whatever disturbs makes the others slower.
const BATCHES: usize = 40;

const CALLS: u32 = 100;

/// For a daemon to become ready.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// What is measured: its name, whether others' time counts, and how.
type Operation<'a> = (&'static str, fn() -> Duration, &'a dyn Fn());

/// Prints the document.
#[expect(clippy::print_stdout, reason = "the document is what this is for")]
pub(crate) fn tell(directory: &Path) -> Result<()> {
    let start = time_to_start()?;
    let server = Server::start(&directory.join("fuse"))?;
    let on_fuse = server.mount_point.join(FILE);
    let local = directory.join("local");
    std::fs::write(&local, "")?;
    let dev = device(&on_fuse)?;
    let found = facts::gather();
    let operations: [Operation<'_>; 3] = [
        ("stat of a local file", cpu_time, &|| stat(&local)),
        ("stat on FUSE, two requests", wall_time, &|| stat(&on_fuse)),
        ("getppid", cpu_time, &|| {
            black_box(getppid());
        }),
    ];
    let mut samples = [[f64::INFINITY; 3]; 3];
    let mut attachments = Vec::new();
    for _ in 0..ROUNDS {
        take(&mut samples, 0, &operations);
        let kernel = load(&found, dev)?;
        take(&mut samples, 2, &operations);
        attachments.clone_from(&kernel.attachments);
        drop(kernel);
        let links = floor::attach(&attachments, &found)?;
        take(&mut samples, 1, &operations);
        drop(links);
    }
    let costs: Vec<_> = operations
        .iter()
        .zip(samples)
        .map(|(operation, [nothing, empty, observer])| {
            json!({
                "operation": operation.0,
                "nothing_ns": nothing,
                "empty_ns": empty,
                "observer_ns": observer,
            })
        })
        .collect();
    let document = json!({
        "start_ms": u64::try_from(start.as_millis())?,
        "programs": attachments.iter().map(described).collect::<Vec<_>>(),
        "costs": costs,
    });
    println!("{document}");
    Ok(())
}

fn described(attachment: &Attachment) -> Value {
    json!({
        "probe": attachment.probe.name(),
        "kind": attachment.mechanism.name(),
        "program": attachment.program,
        "target": attachment.target,
        "module": attachment.module,
        "verified_instructions": attachment.verified_instructions,
    })
}

/// The quickest batch of each operation so far, in the column of what is attached.
fn take(samples: &mut [[f64; 3]; 3], column: usize, operations: &[Operation<'_>; 3]) {
    for (row, (_, clock, call)) in samples.iter_mut().zip(operations) {
        let Some(least) = row.get_mut(column) else {
            continue;
        };
        for _ in 0..BATCHES {
            let begin = clock();
            for _ in 0..CALLS {
                call();
            }
            let took = clock().saturating_sub(begin).as_secs_f64();
            *least = least.min(took * 1e9 / f64::from(CALLS));
        }
    }
}

fn stat(path: &Path) {
    black_box(fstatat(nix::fcntl::AT_FDCWD, path, AtFlags::empty()).is_ok());
}

/// The observer's programs, with nobody reading what they say: nothing fails here.
fn load(found: &Gathered, dev: Dev) -> Result<Kernel> {
    let options = Options {
        slow_ns: 1_000_000_000,
        recorded_errno: Errno::CONNECTION_CLASS.to_vec(),
        log: BpfLogLevel::Off,
        ring_bytes: None,
        trace: None,
    };
    let plan = plan::plan(&found.facts, Purpose::Watch(StatxMode::Auto));
    let mut kernel = Kernel::load(&plan, found, &options)?;
    kernel.maps.watch_superblocks(&[dev])?;
    Ok(kernel)
}

/// From the start of the daemon's process until it is ready, as its users see it.
fn time_to_start() -> Result<Duration> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let program = std::env::var_os("MOUNT_OBSERVER_BIN").context("MOUNT_OBSERVER_BIN")?;
    let begin = wall_time();
    let mut daemon = Command::new(program)
        .arg("run")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the observer")?;
    let took = until_ready(begin, port, &mut daemon);
    daemon.kill()?;
    daemon.wait()?;
    took
}

fn until_ready(begin: Duration, port: u16, daemon: &mut Child) -> Result<Duration> {
    loop {
        let took = wall_time().saturating_sub(begin);
        if matches!(http::get(port, "/-/ready"), Ok((200, _))) {
            return Ok(took);
        }
        if let Some(status) = daemon.try_wait()? {
            bail!("the observer ended: {status}");
        }
        if took > START_DEADLINE {
            bail!("the observer is not ready after {took:?}");
        }
        std::thread::yield_now();
    }
}
