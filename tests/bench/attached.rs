//! What is attached while something is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aya::{Btf, Ebpf, programs::BtfTracePoint};
use mount_observer::{
    config::{BpfLogLevel, StatxMode},
    daemon::{
        facts,
        kernel::{Kernel, Links as Programs, OBJECT, Options, TraceOptions},
        maps::KernelFilter,
    },
    errno::Errno,
    input::MountPoint,
    plan::{self, Purpose},
    sight,
    superblock::Dev,
    trace,
};

/// A way to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not at all.
    Nothing,
    /// Empty programs.
    Empty(&'static [(&'static str, &'static str)]),
    /// The observer, with path syscalls observed so.
    Observer(StatxMode),
    /// The same with a trace of what is on the mount.
    Trace(StatxMode, Wanted),
}

/// What a trace wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything.
    All,
    /// What this process does not do.
    Nothing,
}

/// Empty programs on both ends of a FUSE request.
pub(crate) const EMPTY_FUSE: Mode = Mode::Empty(&[
    ("empty_send", "fuse_request_send"),
    ("empty_end", "fuse_request_end"),
]);
/// An empty program where system calls end.
pub(crate) const EMPTY_EXIT: Mode = Mode::Empty(&[("empty_exit", "sys_exit")]);
/// Empty programs where system calls begin and end.
pub(crate) const EMPTY_BOTH: Mode =
    Mode::Empty(&[("empty_enter", "sys_enter"), ("empty_exit", "sys_exit")]);

/// What the paths of the load are attributed to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The superblock in scope.
    pub(crate) dev: Dev,
    /// The superblock of the root.
    pub(crate) root: Dev,
    /// This process's mount namespace.
    pub(crate) mnt_ns: u32,
    /// Where it is mounted.
    pub(crate) path: Vec<u8>,
}

/// Something attached; dropping it detaches.
pub(crate) enum Attached {
    /// Nothing.
    Nothing,
    /// Empty programs.
    Empty { _programs: Box<Ebpf> },
    /// The observer's kernel side, and the thread that drains its ring.
    Observer { _programs: Programs, _drain: Drain },
}

/// Drains the ring as the daemon does, until dropped.
pub(crate) struct Drain {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A drain that panicked has nothing left to stop.
            drop(thread.join());
        }
    }
}

impl Mode {
    /// Attaches.
    pub(crate) fn attach(self, place: &Place) -> Result<Attached> {
        match self {
            Self::Nothing => Ok(Attached::Nothing),
            Self::Empty(programs) => attach_empty(programs),
            Self::Observer(mode) => attach_observer(mode, None, place),
            Self::Trace(mode, wanted) => attach_observer(mode, Some(wanted), place),
        }
    }
}

fn attach_empty(programs: &[(&str, &str)]) -> Result<Attached> {
    let mut ebpf = Ebpf::load(OBJECT)?;
    let btf = Btf::from_sys_fs()?;
    for (name, target) in programs {
        let program = ebpf.program_mut(name).context("no such program")?;
        let program: &mut BtfTracePoint = program.try_into()?;
        program.load(target, &btf)?;
        program.attach()?;
    }
    Ok(Attached::Empty {
        _programs: Box::new(ebpf),
    })
}

impl Wanted {
    fn options(self) -> Result<TraceOptions> {
        let comms = match self {
            Self::All => Vec::new(),
            Self::Nothing => vec!["nobody".to_owned()],
        };
        let options = trace::Options {
            filter: trace::Filter {
                comms,
                ..trace::Filter::default()
            },
            ..trace::Options::default()
        };
        Ok(TraceOptions {
            filter: KernelFilter::of(&options, None)?,
            ring_bytes: None,
        })
    }
}

fn attach_observer(mode: StatxMode, wanted: Option<Wanted>, place: &Place) -> Result<Attached> {
    let found = facts::gather();
    let plan = plan::plan(&found.facts, Purpose::Watch(mode));
    let options = Options {
        slow_ns: 1_000_000_000,
        recorded_errno: Errno::CONNECTION_CLASS.to_vec(),
        log: BpfLogLevel::Off,
        ring_bytes: None,
        trace: wanted.map(Wanted::options).transpose()?,
    };
    let mut kernel = Kernel::load(&plan, &found, &options)?;
    for probe in &kernel.probes {
        ensure!(
            !probe.is_wanted || probe.kind.is_some() || !sight::blinds(probe.probe).anything(),
            "{}: {}",
            probe.probe,
            probe.reason
        );
    }
    kernel.maps.watch_superblocks(&[place.dev])?;
    kernel.maps.watch_mount_points(&[MountPoint {
        mnt_ns: place.mnt_ns,
        root: place.root,
        path: place.path.clone(),
        dev: place.dev,
    }])?;
    let Kernel {
        mut ring,
        mut traces,
        attached,
        ..
    } = kernel;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            ring.drain(|_| ());
            if let Some(traces) = &mut traces {
                while traces.drain(|_| ()) > 0 {}
            }
            thread::park_timeout(Duration::from_millis(100));
        }
    });
    Ok(Attached::Observer {
        _programs: attached,
        _drain: Drain {
            stop,
            thread: Some(thread),
        },
    })
}
