//! `mount-observer trace`: what can be asked of it.

use std::{
    io,
    num::NonZero,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use mount_observer::{
    daemon::{
        config_file::ConfigSource,
        replay::End,
        run::chain,
        trace::{Form, Request, trace},
    },
    errno::Errno,
    render::{
        escape::escaped,
        trace::{Paper, json, summary},
    },
    replay::Replay,
    trace::{Filter, Matcher, Options, filter},
};

use super::{Settings, medium, record::RecordArgs, replay};

/// What a recording was made with, and cannot be asked of it any more.
const OF_A_TRACE: [&str; 6] = [
    "RecordArgs",
    "FilterArgs",
    "duration",
    "count",
    "blocked_after",
    "ring_bytes",
];

#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    filter: FilterArgs,
    /// From when on an operation that has not ended is shown
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    blocked_after: Duration,
    /// Ends after this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Ends after so many operations
    #[arg(long, value_name = "NUMBER")]
    count: Option<NonZero<u64>>,
    /// Print objects, one a line; docs/API.md has the fields
    #[arg(long)]
    json: bool,
    /// Print only the summary at the end
    #[arg(long)]
    summary_only: bool,
    /// Only print the summary of what a recording of a trace holds, here and without privileges
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_A_TRACE)]
    summary_of: Option<PathBuf>,
    #[command(flatten)]
    record: RecordArgs,
    /// Bytes for operations that wait to be shown: 48 MiB are a second of 300,000 [default: 8 MiB]
    #[arg(long, value_name = "BYTES")]
    ring_bytes: Option<u32>,
}

/// Which operations; each may be given several times, and any of them will do.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which operations (all that is given must hold)")]
struct FilterArgs {
    /// On mount points; `*` matches any characters. Takes in what is out of scope
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    mount: Vec<String>,
    /// On filesystems of this type (fuse.sshfs, 'nfs*'). Takes in what is out of scope
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    fstype: Vec<String>,
    /// Of a process
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// Of processes of this name (rsync, 'rs*')
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    comm: Vec<String>,
    /// Of a control group and those below it, by its path (system.slice/'nginx*')
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    cgroup: Vec<String>,
    /// Of a systemd unit (nginx.service)
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    unit: Vec<String>,
    /// Of a container, by its number or how that begins
    #[arg(long, value_name = "ID", value_parser = container)]
    container: Vec<String>,
    /// Of a kind: as FUSE or NFS names it (LOOKUP, READ), or a system call (statx, openat)
    #[arg(long, value_name = "NAME", value_parser = operation)]
    op: Vec<String>,
    /// That failed with this error (EIO, ENOTCONN)
    #[arg(long, value_name = "NAME", value_parser = errno)]
    errno: Vec<Errno>,
    /// That failed
    #[arg(long)]
    failed: bool,
    /// That took, or have waited, at least as long (50ms, 2s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    min_latency: Option<Duration>,
    /// One of so many of what all else admits, and all that blocked: 1/100
    #[arg(long, value_name = "1/N", value_parser = sample, default_value = "1/1")]
    sample: NonZero<u32>,
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        Filter {
            mounts: self.mount.clone(),
            fstypes: self.fstype.clone(),
            pids: self.pid.clone(),
            comms: self.comm.clone(),
            cgroups: self.cgroup.clone(),
            units: self.unit.clone(),
            containers: self.container.clone(),
            operations: self.op.clone(),
            errnos: self.errno.clone(),
            only_failed: self.failed,
            min_latency: self.min_latency,
            sample: self.sample,
        }
    }
}

impl TraceArgs {
    /// What is asked for.
    fn request(&self) -> Result<Request, io::Error> {
        Ok(Request {
            options: Options {
                filter: self.filter.filter(),
                blocked_after: self.blocked_after,
                count: self.count,
            },
            duration: self.duration,
            form: Form {
                is_json: self.json,
                is_quiet: self.summary_only,
                medium: medium(),
            },
            record: self.record.options()?,
            ring_bytes: self.ring_bytes,
        })
    }
}

/// Traces until it is over, or summarises a recording; the exit code.
pub(crate) fn run(args: &TraceArgs) -> anyhow::Result<u8> {
    if let Some(file) = &args.summary_of {
        return summary_of(file, args.json);
    }
    let request = args
        .request()
        .context("cannot find the working directory")?;
    let settings = args.settings.clone();
    let source = ConfigSource::new(settings.config.clone(), move |config| {
        settings.apply(config);
    });
    trace(&source.read()?, &request)?;
    Ok(0)
}

/// The summary of a recording, as far as it can be read.
fn summary_of(file: &Path, is_json: bool) -> anyhow::Result<u8> {
    let shown = || escaped(&file.to_string_lossy());
    let bytes = replay::read(file)?;
    let mut recording =
        Replay::open(&bytes).with_context(|| format!("cannot replay {}", shown()))?;
    while recording.step().is_some() {}
    let tracer = recording.session().tracer();
    let tracer = tracer.with_context(|| format!("{} is no recording of a trace", shown()))?;
    let summary = tracer.summary();
    let text = if is_json {
        serde_json::to_string(&json::Object::Summary(&summary))? + "\n"
    } else {
        let paper = Paper {
            width: None,
            is_coloured: medium().is_coloured,
        };
        summary::text(&summary, paper)
    };
    replay::put(&text)?;
    Ok(replay::complain(&End::of(recording.reader())))
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("it must be more than 0s".to_owned());
    }
    Ok(duration)
}

/// What a filter with one value says of it.
fn checked(
    text: &str,
    into: impl FnOnce(&mut Filter) -> &mut Vec<String>,
) -> Result<String, String> {
    let mut filter = Filter::default();
    into(&mut filter).push(text.to_owned());
    match Matcher::new(&filter) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

fn glob(text: &str) -> Result<String, String> {
    checked(text, |filter| &mut filter.mounts)
}

fn operation(text: &str) -> Result<String, String> {
    checked(text, |filter| &mut filter.operations)
}

fn container(text: &str) -> Result<String, String> {
    checked(text, |filter| &mut filter.containers)
}

fn errno(text: &str) -> Result<Errno, String> {
    filter::errno(text).map_err(|error| error.to_string())
}

/// `1/100`, and `100` for the same.
fn sample(text: &str) -> Result<NonZero<u32>, String> {
    let number = text.strip_prefix("1/").unwrap_or(text);
    let sample = number.parse().ok().and_then(NonZero::new);
    sample.ok_or_else(|| "1/N is wanted, N from 1 on: 1/100 shows one of 100".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn request(words: &[&str]) -> Result<Request, String> {
        let words = ["mount-observer", "trace"]
            .into_iter()
            .chain(words.iter().copied());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Trace(args) = cli.command else {
            panic!("not trace");
        };
        Ok(args.request().unwrap())
    }

    #[test]
    fn every_option_says_what_it_says() {
        let request = request(&[
            "--mount=/srv/*",
            "--fstype=nfs*",
            "--pid=7",
            "--comm=rsync",
            "--cgroup=user.slice",
            "--unit=a.service",
            "--container=4f1d22",
            "--op=LOOKUP",
            "--op=statx",
            "--errno=EIO",
            "--failed",
            "--min-latency=50ms",
            "--sample=1/100",
            "--blocked-after=2s",
            "--duration=1min",
            "--count=5",
            "--json",
            "--summary-only",
            "--ring-bytes=65536",
        ])
        .unwrap();
        insta::assert_debug_snapshot!(request);
    }

    #[test]
    fn a_summary_of_a_recording_is_asked_for_alone() {
        assert!(request(&["--summary-of=f", "--json"]).is_ok());
        for option in [
            "--failed",
            "--sample=1/1",
            "--mount=/a",
            "--record=g",
            "--count=5",
            "--blocked-after=1s",
        ] {
            let error = request(&["--summary-of=f", option]).unwrap_err();
            assert!(error.contains("cannot be used with"), "{error}");
        }
    }

    #[test]
    fn a_bad_value_is_named_with_its_cause_and_what_is_allowed() {
        let said = [
            vec!["--op=lookup"],
            vec!["--errno=ENOTCON"],
            vec!["--mount=["],
            vec!["--container=web"],
            vec!["--sample=0"],
            vec!["--min-latency=fast"],
            vec!["--duration=0s"],
            vec!["--count=0"],
            vec!["--pid=me"],
        ]
        .map(|words| format!("{words:?}\n{}", request(&words).unwrap_err()));
        insta::assert_snapshot!(said.join("\n"));
    }
}
