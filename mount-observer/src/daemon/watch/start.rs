//! The start of the loop: what every owner of one needs, and the first look.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc};

use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Runtime,
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{BEAT, Traces, Watch, exits::Exits, fuse_module::Follower, nfs, underneath};
use crate::{
    config::{Config, StatxMode},
    daemon::{
        clock,
        confine::{Grant, Needs, confine},
        engine::{Engine, slow_ns},
        facts::{self, Gathered},
        http::Heartbeats,
        jobs::Jobs,
        kernel::{Kernel, Options, TraceOptions},
        mountinfo::{self, OwnTable},
        namespaces, process,
        record::{RecordFile, RecordOptions, Recorder, Recordings},
        ring::Ring,
        run::RunError,
    },
    errno::Errno,
    input::{ProbeHealth, SelfInfo},
    observer::Observer,
    plan::{self, AttachPlan, Fuse, Probe, Purpose},
    recording::Header,
    session::Session,
    sight,
    trace::Tracer,
};

/// Threads for what may block: an iterator, the namespaces, fusectl, the tables.
const BLOCKING_THREADS_MAX: usize = 6;
/// Stack of each: nothing there recurses.
const BLOCKING_STACK_BYTES: usize = 512 << 10;

/// What is made while there are still privileges, and before the threads leave their mount namespace.
#[derive(Debug)]
pub struct Begun {
    /// The kernel side, attached.
    pub kernel: Kernel,
    /// What it was planned from.
    pub found: Gathered,
    /// The mount table of the namespace the observer was started in.
    pub own: Arc<OwnTable>,
    /// What is recorded: nothing, unless the owner of the loop says so.
    pub recordings: Recordings,
    /// What it was planned for.
    pub purpose: Purpose,
    /// What makes lines of the records of a trace, where there is one.
    pub tracer: Option<Tracer>,
}

impl Begun {
    /// Loads and attaches what the plan says, and opens the mount table.
    pub fn load(config: &Config, found: Gathered, plan: &AttachPlan) -> Result<Self, RunError> {
        let kernel = Kernel::load(plan, &found, &options(config))?;
        Self::with(kernel, found, Purpose::Watch(plan.statx))
    }

    /// The same for a session that wants a record of every operation.
    ///
    /// `auto` means something else than for a daemon: what a trace is asked for is every call. Where the
    /// stat family is seen in its function, which only attaching tells, that is no question. Elsewhere only
    /// the start and the end of all system calls show a stat that succeeds, or fails for an everyday
    /// reason: a tax on the host that a daemon must not levy and a session may. Where both can be had it
    /// would buy little: the end of an open does not tell which superblock it was about, its requests do.
    pub fn load_traced(config: &Config, trace: TraceOptions) -> Result<Self, RunError> {
        let mut options = options(config);
        options.trace = Some(trace);
        let (found, plan) = facts::decide(Purpose::Watch(config.probes.statx));
        let kernel = Kernel::load(&plan, &found, &options)?;
        let is_left_to_us = config.probes.statx == StatxMode::Auto;
        if !is_left_to_us || kernel.has(Probe::StatExit) {
            return Self::with(kernel, found, Purpose::Watch(plan.statx));
        }
        drop(kernel);
        let purpose = Purpose::Watch(StatxMode::Full);
        let plan = plan::plan(&found.facts, purpose);
        let kernel = Kernel::load(&plan, &found, &options)?;
        Self::with(kernel, found, purpose)
    }

    fn with(kernel: Kernel, found: Gathered, purpose: Purpose) -> Result<Self, RunError> {
        report(&kernel.probes);
        let own = OwnTable::open();
        let own = own.map_err(|error| RunError::System("open the mount table", error))?;
        Ok(Self {
            kernel,
            found,
            own,
            recordings: Recordings::default(),
            purpose,
            tracer: None,
        })
    }

    /// Gives up what is no longer needed; `grants` are the files that go on being needed besides the
    /// kernel's.
    pub(in crate::daemon) fn confine(
        &self,
        config: &Config,
        grants: Vec<Grant>,
    ) -> Result<(), RunError> {
        Ok(confine(
            config.confine,
            Needs {
                scope: &config.scope,
                grants,
                opens_module_btf: matches!(self.found.facts.fuse, Fuse::Absent | Fuse::Module),
            },
        )?)
    }
}

/// Started inside a mount, the working directory would keep it busy. What the command line names
/// relative to it was made absolute before.
pub fn leave_working_directory() -> Result<(), RunError> {
    std::env::set_current_dir("/")
        .map_err(|error| RunError::System("leave the working directory", error))
}

/// Attaches for a session that somebody watches, confines it as the daemon is, and leaves the loop to
/// `session`; `recorded` is what `--record` asks for.
pub fn attached<T>(
    config: &Config,
    recorded: Option<&RecordOptions>,
    session: impl AsyncFnOnce(Watch) -> Result<T, RunError>,
) -> Result<T, RunError> {
    leave_working_directory()?;
    let (found, plan) = facts::decide(Purpose::Watch(config.probes.statx));
    let file = recorded.map(|options| RecordFile::create(options, &[config]));
    let file = file.transpose()?;
    let mut begun = Begun::load(config, found, &plan)?;
    begun.recordings.file = file;
    keep_attached(config, begun, session)
}

/// The same for a session that wants a record of every operation its filter admits.
pub fn traced<T>(
    config: &Config,
    file: Option<RecordFile>,
    (trace, tracer): (TraceOptions, Tracer),
    session: impl AsyncFnOnce(Watch) -> Result<T, RunError>,
) -> Result<T, RunError> {
    leave_working_directory()?;
    let mut begun = Begun::load_traced(config, trace)?;
    begun.recordings = Recordings { file, flight: None };
    begun.tracer = Some(tracer);
    keep_attached(config, begun, session)
}

fn keep_attached<T>(
    config: &Config,
    begun: Begun,
    session: impl AsyncFnOnce(Watch) -> Result<T, RunError>,
) -> Result<T, RunError> {
    // The file of `--record` is open by now.
    begun.confine(config, Vec::new())?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut watch = Watch::start(config, begun, Arc::new(Heartbeats::default()))?;
        watch.look_at_everything()?;
        session(watch).await
    });
    // A job that hangs in the kernel must not keep us: the process ends without it.
    runtime.shutdown_background();
    result
}

/// Where the loop and its jobs run.
pub fn runtime() -> Result<Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .thread_name("blocking")
        .build()
        .map_err(|error| RunError::System("start the event loop", error))
}

/// Says how the probes ended up; each by itself is told at the level of debugging.
fn report(probes: &[ProbeHealth]) {
    for probe in probes {
        if probe.is_wanted && probe.kind.is_none() && sight::blinds(probe.probe).anything() {
            tracing::warn!(
                probe = probe.probe,
                reason = probe.reason,
                "a probe is not attached"
            );
        }
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in probes.iter().filter_map(|probe| probe.kind) {
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    let kinds: Vec<String> = kinds.collect();
    let lacking = |probe: &&ProbeHealth| probe.is_wanted && probe.kind.is_none();
    let lacking = probes.iter().filter(lacking).count();
    tracing::info!(
        probes = kinds.join(", "),
        not_attached = lacking,
        "attached; `mount-observer check` says what and why"
    );
}

/// What the kernel side is told.
pub fn options(config: &Config) -> Options {
    Options {
        slow_ns: slow_ns(config),
        recorded_errno: Errno::CONNECTION_CLASS.to_vec(),
        log: config.log.bpf,
        ring_bytes: Some(config.probes.ring_bytes),
        trace: None,
    }
}

impl Watch {
    /// Brings the parts together. What an owner knows from elsewhere goes into the engine before
    /// [`Watch::look_at_everything`].
    pub fn start(
        config: &Config,
        begun: Begun,
        heartbeats: Arc<Heartbeats>,
    ) -> Result<Self, RunError> {
        let Begun {
            kernel,
            found,
            own,
            recordings,
            purpose,
            tracer,
        } = begun;
        let info = SelfInfo {
            boot: process::boot_id(),
            is_initial_pid_namespace: kernel.self_tgid == std::process::id(),
            is_single_look: false,
        };
        let header = Header::new(clock::now(), env!("CARGO_PKG_VERSION"), info, config);
        let mut header = header.with_kernel(&found.facts);
        let mut session = Session::new(Observer::new(config, info)?);
        if let Some(tracer) = tracer {
            header = header.with_trace(tracer.options().clone());
            session = session.traced(tracer);
        }
        let recorder = Recorder::start(recordings, &header)
            .map_err(|error| RunError::System("start the recorder", error))?;
        let engine = Engine::new(session, kernel.maps, kernel.checker, kernel.probes);
        let mut engine = engine.recorded_by(recorder);
        let mut jobs = Jobs::new(kernel.scanner, Arc::clone(&own), &found.facts);
        if let Some(symbols) = &found.symbols {
            engine.set_symbols(symbols);
        } else {
            engine.await_symbols();
            jobs.want_symbols();
        }
        engine.set_facts(&found.facts);
        let (table_changes, tables) = mpsc::channel(mountinfo::QUEUE_MAX);
        // Watched before it is first read: no change falls between the two.
        own.watch(table_changes, Arc::clone(&heartbeats))
            .map_err(|error| RunError::System("watch the mount table", error))?;
        let is_there = found.facts.fuse != Fuse::Absent;
        let fuse_module =
            |module| Follower::new(Arc::clone(&kernel.loader), module, purpose, is_there);
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            engine,
            wake_up: wake_up(&kernel.ring)?,
            ring: kernel.ring,
            traces: kernel.traces.map(Traces::new).transpose()?,
            beat,
            jobs,
            exits: Exits::default(),
            own,
            tables,
            ticked: clock::now().mono,
            heartbeats,
            _attached: kernel.attached,
            fuse: kernel.fuse.map(fuse_module),
            nfs: nfs::Follower::new(Arc::clone(&kernel.loader), kernel.nfs, purpose),
            underneath: underneath::Follower::new(kernel.loader),
        })
    }

    /// A first look at everything, so that the first snapshot is a complete one.
    pub fn look_at_everything(&mut self) -> Result<(), RunError> {
        let own_table = self.own.read();
        let own_table =
            own_table.map_err(|error| RunError::System("read the mount table", error))?;
        self.engine
            .feed([namespaces::own_table(self.own.namespace(), own_table)]);
        self.engine.feed(self.jobs.look_at_everything());
        self.engine.tick();
        self.ticked = clock::now().mono;
        Ok(())
    }
}

impl Traces {
    fn new(ring: Ring) -> Result<Self, RunError> {
        Ok(Self {
            wake_up: wake_up(&ring)?,
            ring,
        })
    }
}

/// Becomes readable when a program wakes us for what settles a matter at once.
#[expect(
    unsafe_code,
    reason = "tokio has no safe way to register a descriptor it does not own"
)]
fn wake_up(ring: &Ring) -> Result<AsyncFd<OwnedFd>, RunError> {
    let fd = ring
        .wake_up()
        .map_err(|error| RunError::System("duplicate the ring", error))?;
    // SAFETY: the descriptor is owned by the AsyncFd for as long as it is registered, and nobody
    // closes or replaces it: `OwnedFd` gives no way to.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(|error| RunError::System("wait for the ring", error.into()))
}
