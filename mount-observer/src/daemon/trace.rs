//! `mount-observer trace`: the loop that shows operations, until somebody or something ends it.

mod groups;
mod output;

use std::time::Duration;

use tokio::{
    signal::unix::SignalKind,
    time::{Instant, sleep_until},
};

pub use self::output::Form;
use self::{
    groups::{Found, Groups},
    output::Output,
};
use super::{
    kernel::TraceOptions,
    maps::KernelFilter,
    record::{self, RecordFile, RecordOptions},
    run::{RunError, on},
    stdout::is_reader_gone,
    watch::{Turn, Watch, traced},
};
use crate::{
    config::Config,
    input::Input,
    render::escape::escaped,
    scope::Scope,
    snapshot::Snapshot,
    text::{append, count},
    trace::{Filter, Options, Summary, Tracer},
};

/// How long whoever reads is waited for in the end, where a signal asks to go.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// Told where control groups decide and not all were looked at.
const MORE_GROUPS: &str =
    "control groups: there are more than 65,536, of which the others match nothing";

/// Turns in which what the ring still holds is taken in the end: more than a full one of 64 MiB needs.
const CATCH_UP_MAX: usize = 32;

/// What a trace is to do, and for how long.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it shows.
    pub options: Options,
    /// After how long it ends.
    pub duration: Option<Duration>,
    /// How it is shown.
    pub form: Form,
    /// Into which file all is recorded.
    pub record: Option<RecordOptions>,
    /// Bytes of the ring of records; `None` for the default.
    pub ring_bytes: Option<u32>,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its time or its number of operations was reached, or somebody at the keyboard ended it.
    Over,
    /// It was asked to go.
    Told,
    /// Nobody reads any more.
    Unread,
}

/// Traces until it is over. Nothing is told to anybody but whoever reads standard output.
pub fn trace(config: &Config, request: &Request) -> Result<(), RunError> {
    let asked = config;
    let config = narrowed(config, &request.options.filter);
    // Checked before anything is loaded.
    Scope::new(&config.scope)?;
    let tracer = Tracer::new(&request.options)?;
    let filter = KernelFilter::of(&request.options, None)?;
    let groups = Groups::find(&request.options.filter)?;
    let kernel = TraceOptions {
        filter,
        ring_bytes: request.ring_bytes,
    };
    let session = async |mut watch: Watch| {
        let output = Output::start(request.form)?;
        output.note(greeting(&watch.engine.snapshot(), &request.options));
        let end = follow(&mut watch, request, &output, groups).await?;
        show_rest(&mut watch, &output, end).await;
        let summary = watch.engine.tracer().map(Tracer::summary);
        let recording = watch.engine.finish_recording();
        // Whoever reads slowly reads without the programs in the kernel.
        drop(watch);
        if let Some(report) = &recording {
            output.note(recorded(report));
        }
        finish(&output, end, summary).await?;
        if let Some(error) = output.failure() {
            return Err(RunError::System("write to standard output", error));
        }
        let failure = recording.and_then(|report| report.failure);
        failure.map_or(Ok(()), |why| Err(RunError::Recording(why)))
    };
    // What the filter leaves out may hang all the same.
    let record = request.record.as_ref();
    let file = record.map(|options| RecordFile::create(options, &[asked, &config]));
    traced(&config, file.transpose()?, (kernel, tracer), session)
}

/// Observes what the filter names, whatever is observed otherwise; repairs nothing.
fn narrowed(config: &Config, filter: &Filter) -> Config {
    let mut config = config.clone();
    config.recover.clear();
    if filter.names_no_mount() {
        return config;
    }
    let scope = &mut config.scope;
    scope.local_filesystems = false;
    scope.include_sources.clear();
    scope.exclude_sources.clear();
    scope.exclude_mount_points.clear();
    scope.exclude_fstypes.clear();
    // Of both, the mount points: the filter sees to the types.
    scope.include_mount_points.clone_from(&filter.mounts);
    scope.include_fstypes.clear();
    if filter.mounts.is_empty() {
        scope.include_fstypes.clone_from(&filter.fstypes);
    }
    config
}

async fn follow(
    watch: &mut Watch,
    request: &Request,
    output: &Output,
    mut groups: Option<Groups>,
) -> Result<End, RunError> {
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hang_up = on(SignalKind::hangup())?;
    let ends_at = request.duration.map(|duration| Instant::now() + duration);
    loop {
        output.show(watch.engine.take_lines());
        if watch.engine.tracer().is_some_and(Tracer::is_over) {
            return Ok(End::Over);
        }
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(End::Over),
            _ = terminate.recv() => return Ok(End::Told),
            _ = hang_up.recv() => return Ok(End::Told),
            () = until(ends_at) => return Ok(End::Over),
            found = next(&mut groups) => take(watch, &request.options, found)?,
            turn = watch.turn() => match turn? {
                Turn::Beat if output.is_unread() || is_reader_gone() => return Ok(End::Unread),
                Turn::Beat | Turn::Learnt | Turn::Config(_) => {}
            },
        }
        // What the observer asks for besides is a daemon's business.
        drop(watch.settle());
    }
}

/// Takes what the ring still holds, and shows it as fast as it is read, for a moment.
async fn show_rest(watch: &mut Watch, output: &Output, end: End) {
    let deadline = Instant::now() + READ_WITHIN;
    for turn in 1..=CATCH_UP_MAX {
        let is_all = watch.catch_up() || turn == CATCH_UP_MAX;
        if is_all {
            // What was lost until now.
            watch.engine.tick();
        }
        let lines = watch.engine.take_lines();
        if end != End::Unread {
            output.wait_for_room(lines.len(), deadline).await;
        }
        output.show(lines);
        if is_all {
            return;
        }
    }
}

/// Shows the summary, and waits until all is read: at a keyboard for as long as nobody asks again.
async fn finish(output: &Output, end: End, summary: Option<Summary>) -> Result<(), RunError> {
    if end == End::Unread {
        return Ok(());
    }
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hang_up = on(SignalKind::hangup())?;
    let patience = (end == End::Told).then(|| Instant::now() + READ_WITHIN);
    tokio::select! {
        () = output.finish(summary) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
        () = until(patience) => {}
    }
    Ok(())
}

/// Has operations shown of the control groups there are now.
fn take(watch: &mut Watch, options: &Options, found: Found) -> Result<(), RunError> {
    let Found { groups, is_cut } = found;
    watch
        .engine
        .set_trace(&KernelFilter::of(options, Some(&groups))?);
    let unseen = Input::Unseen {
        what: MORE_GROUPS,
        count: u64::from(is_cut),
    };
    watch.engine.feed([Input::TraceGroups(groups), unseen]);
    Ok(())
}

/// What is traced, and what cannot be seen: for standard error, so that the rest is data.
fn greeting(snapshot: &Snapshot, options: &Options) -> String {
    let mut text = format!(
        "tracing {}; Ctrl-C ends it\n",
        count(
            u64::try_from(snapshot.superblocks.len()).unwrap_or(u64::MAX),
            "mount"
        )
    );
    let others = snapshot.superblocks_out_of_scope;
    if snapshot.superblocks.is_empty() && !options.filter.names_no_mount() {
        append(
            &mut text,
            format_args!(
                "no mount is what --mount and --fstype ask for yet: {others} are others \
                 (`mount-observer status` and /proc/self/mountinfo list them)\n"
            ),
        );
    } else if snapshot.superblocks.is_empty() {
        append(
            &mut text,
            format_args!(
                "no mount is in scope yet ({others} are not: --mount or --fstype takes them in)\n"
            ),
        );
    }
    if options.filter.sample.get() > 1 {
        append(
            &mut text,
            format_args!("one of {} operations is shown\n", options.filter.sample),
        );
    }
    for lack in &snapshot.observer.degraded {
        append(&mut text, format_args!("note: {}\n", escaped(lack)));
    }
    for missed in &snapshot.observer.not_seen {
        append(&mut text, format_args!("not seen: {}\n", missed.what));
    }
    text
}

/// What came of a recording that did not fail.
fn recorded(report: &record::Report) -> String {
    match (&report.path, &report.failure) {
        (Some(path), None) => format!(
            "recorded {} to {}, {} bytes; {} lost\n",
            count(report.recorded, "input"),
            escaped(&path.to_string_lossy()),
            report.bytes,
            report.lost
        ),
        _ => String::new(),
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn next(groups: &mut Option<Groups>) -> Found {
    match groups {
        Some(groups) => groups.next().await,
        None => std::future::pending().await,
    }
}
