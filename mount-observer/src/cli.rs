//! The command line: what can be said, and what it teaches.

pub(crate) mod drill;
pub(crate) mod explain;
pub(crate) mod incidents;
mod manual;
mod place;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod silence;
pub(crate) mod top;
pub(crate) mod trace;

pub(crate) use manual::{completion, man_page};

use std::{io::IsTerminal as _, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use mount_observer::{
    config::{BpfLogLevel, Config, LogFormat, LogLevel, StatxMode},
    render::status::Medium,
};

/// Sees dead, hung and slow mounts from inside the kernel, without ever touching one.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  mount-observer status                   what is wrong right now, in under a second
  mount-observer run                      watch, log alerts, serve http://127.0.0.1:9967/metrics
  mount-observer trace                    what every operation does, as it happens
  mount-observer check                    what this kernel allows, and what is missing

Exit codes: 0 ok, 1 failure at run time, 2 bad command line or configuration, 3 `check` found
something missing, or a recording is damaged. `status --nagios` uses 0 ok, 1 warning, 2 critical, 3 unknown."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch all mounts: log alerts, serve metrics. Works without a configuration
    #[command(after_help = "\
Examples:
  mount-observer run
  mount-observer run --config /etc/mount-observer.toml --log.format json
  mount-observer run --web.listen-address :9967 --probes.statx off

The log goes to standard error, or to the journal when systemd started us. A flag overrides the
file. SIGHUP reads the file again; SIGTERM and SIGINT end it.
--record writes all that is learnt to a file of bounded size; where that fails (a full disk), the observer
goes on, says so, and exits with 1 in the end. Recordings name processes and paths.
Needs CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_SYSLOG; root has them.")]
    Run(RunArgs),
    /// One look at every mount, no daemon needed
    #[command(after_help = "\
Examples:
  mount-observer status
  mount-observer status --json | jq '.superblocks[] | select(.state != \"ok\")'
  mount-observer status --nagios          for Nagios, Icinga and friends

Exits with 0 whatever it finds, unless --nagios is given. It looks for itself and does not ask a
running daemon. What a look cannot see is what needs watching: error storms and slowness are `run`'s
business, and one look cannot tell a lost reply (stuck) from a hang.")]
    Status(StatusArgs),
    /// Full screen: every mount, the worst first, live; an opened one with all that waits in it
    #[command(after_help = "\
Examples:
  mount-observer top
  mount-observer top --url http://storage-7:9967
  mount-observer top --attach             beside a daemon, or where none runs
  mount-observer top --record session.mor attached, for `replay` later

Asks the daemon that runs here, else attaches by itself (as root; what is shown begins then). Needs a
terminal of 80x24 or more; NO_COLOR is heeded. ? tells the keys, q quits. Exits with 0 however it was
ended, with 1 where it cannot look, with 2 without a terminal.")]
    Top(top::TopArgs),
    /// Every operation on a mount, as it ends or while it blocks; in the end, what they come to
    #[command(after_help = "\
Examples:
  mount-observer trace
  mount-observer trace --mount '/srv/jobs/*' --min-latency 100ms
  mount-observer trace --failed --duration 1min --json | jq -r 'select(.type == \"operation\") | .errno'
  mount-observer trace --comm rsync --op READ --sample 1/100 --summary-only
  mount-observer trace --record session.mor --count 1000
  mount-observer trace --summary-of session.mor

Lines go to standard output, all else to standard error. An operation that has not ended after
--blocked-after is shown while it blocks (BLOCKED), and again when it ends: unblocked, an error, or gone,
where its end was not seen. Times are UTC, as in the log; a file that has no name in the request is a node
of its filesystem. Where the kernel lets no program into its stat functions, every system call of the host
pays some 200 ns while it runs (--probes.statx off: none, and no system calls are shown).

Works beside a daemon. Ends with a summary at Ctrl-C, SIGTERM, SIGHUP, --duration or --count, without one
when nobody reads any more (`| head`); all of these exit with 0. 1 is a failure, 2 a bad command line, 3 (--summary-of) a damaged recording.
Needs what `run` needs.")]
    Trace(Box<trace::TraceArgs>),
    /// What a path lies on, who serves it, who holds it and waits for it, and what to do
    #[command(after_help = "\
Examples:
  mount-observer explain /srv/jobs/42/out.warc
  mount-observer explain --json . | jq '.superblock.blocked_tasks'

The path is never looked up, so this answers about a mount that answers nobody; links in it are not
followed. One look, which knows of a state's beginning only what the kernel remembers: the last incident
says more, where a daemon kept it. Exits with 0 whatever it finds. Needs what `status` needs.")]
    Explain(explain::ExplainArgs),
    /// What this kernel allows, the plan chosen and why, privileges and mounts that are missing
    #[command(
        after_help = "Exits with 3 when something is missing; every lack comes with its remedy."
    )]
    Check(CheckArgs),
    /// What went wrong before: a list of incidents, and all there is to say about each
    #[command(after_help = "\
Examples:
  mount-observer incidents
  mount-observer incidents --open
  mount-observer incidents --since 7days --mount '/srv/*'
  mount-observer incidents show 20260102T0304
  mount-observer incidents show 20260102T0304 --at-risk
  mount-observer incidents export 20260102T0304 --output post-mortem.json

Reads the journal (storage.path), whether or not a daemon runs. Needs the right to read it: root has it.
Exits with 1 where there is no journal, or no such incident.")]
    Incidents(incidents::IncidentsArgs),
    /// What a recovery of a mount would do now, and why: takes one look and does nothing
    #[command(after_help = "\
Example:
  mount-observer recover /srv/jobs/42 --dry-run

The mount must be in the configuration ([[recover]]). The daemon repairs by itself once all conditions
hold; this shows them one by one. Exits with 0 whatever the answer.")]
    Recover(RecoverArgs),
    /// What was recorded, decided again: alerts, lines of a trace, and what was known in the end
    #[command(after_help = "\
Examples:
  mount-observer run --record session.mor
  mount-observer replay session.mor
  mount-observer replay session.mor --json | jq 'select(.type == \"alert\")'
  mount-observer replay session.mor --speed 10 --serve=127.0.0.1:9968
  mount-observer replay --info /var/lib/mount-observer/recordings/20260102T030405.123-0.52.mor

On any machine, without privileges. Times are those of the recording. Exits with 0 when the recording
was read to its end, with 1 on a failure, with 3 when it is damaged or was cut off behind its header:
it is replayed up to there, and standard error says where that is.")]
    Replay(replay::ReplayArgs),
    /// Keep alerts about some mount points from the sinks for a while, list such silences, end them
    #[command(after_help = "\
Examples:
  mount-observer silence --mount '/srv/jobs/*' --for 2h --reason 'moving the storage'
  mount-observer silence list
  mount-observer silence end 3f2a

A daemon on the same journal (storage.path) follows within seconds, and over restarts. The log, the
metrics, the status and the journal go on telling everything. What still fires when a silence ends is
told then; whoever was told that an alert fires is told that it ended.")]
    Silence(silence::SilenceArgs),
    /// Send an alert, marked as a drill, through every sink, and end it: are they all reached?
    #[command(after_help = "\
Example:
  mount-observer drill --kind dead --mount /srv/jobs/42

Every sink of the configuration is told, whatever it is told of otherwise and whatever is silenced;
what is sent bears is_drill, the label drill=\"true\" or the word DRILL. Metrics go to a file and a
group of their own, and are taken away again. An incident is written to the journal, marked too.
Nothing is watched and nothing is touched, with or without a daemon. Exits with 1 when a sink failed.")]
    Drill(drill::DrillArgs),
    /// Print a document: the commented default configuration, the systemd unit, rules for Prometheus,
    /// or a generated page
    #[command(after_help = "\
Examples:
  mount-observer print config > /etc/mount-observer.toml
  mount-observer print systemd-unit > /etc/systemd/system/mount-observer.service
  mount-observer print alert-rules > /etc/prometheus/rules/mount-observer.yml
  mount-observer print man-page > /usr/local/share/man/man1/mount-observer.1
  mount-observer print man-page status | man --local-file -
  mount-observer print completion-bash > /etc/bash_completion.d/mount-observer")]
    Print {
        /// Which one
        document: Document,
        /// The command a manual page is about [default: the program]
        command: Option<String>,
    },
    /// Runs commands for a daemon that has confined itself; started by it
    #[command(hide = true)]
    Hand,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Document {
    /// The configuration file with every key, its default and what it does
    Config,
    /// The systemd unit
    SystemdUnit,
    /// What the unit needs on top for `[[recover]]`
    SystemdRecoveryDropin,
    /// Rules for Prometheus
    AlertRules,
    /// A manual page, of the program or of one command
    ManPage,
    /// Completion of the command line in bash
    CompletionBash,
    /// The same in zsh
    CompletionZsh,
    /// The same in fish
    CompletionFish,
    /// docs/CONFIG.md
    ConfigDoc,
    /// docs/API.md
    ApiDoc,
    /// docs/METRICS.md
    MetricsDoc,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Where /metrics and the API listen; `:9967` is every address [default: 127.0.0.1:9967]
    #[arg(long = "web.listen-address", value_name = "ADDRESS:PORT")]
    listen_address: Option<String>,
    /// Least severe level logged [default: info]
    #[arg(long = "log.level", value_name = "LEVEL")]
    log_level: Option<LevelArg>,
    /// How a log line looks; auto: fields for journald when systemd started us, else text
    /// [default: auto]
    #[arg(long = "log.format", value_name = "FORMAT")]
    log_format: Option<FormatArg>,
    /// Where incidents are remembered; '' remembers nothing [default: /var/lib/mount-observer]
    #[arg(long = "storage.path", value_name = "DIR", value_parser = place::directory)]
    storage_path: Option<String>,
    /// Messages of the eBPF programs themselves [default: off]
    #[arg(long = "log.bpf", value_name = "LEVEL")]
    log_bpf: Option<BpfArg>,
    #[command(flatten)]
    pub(crate) record: record::RecordArgs,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Print the snapshot as JSON, as /api/v1/snapshot does
    #[arg(long)]
    pub(crate) json: bool,
    /// Print one line and exit 0, 1, 2 or 3 as a monitoring plugin does
    #[arg(long, conflicts_with = "json")]
    pub(crate) nagios: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print what the plan is made from, as JSON, and try nothing
    #[arg(long, conflicts_with = "json")]
    pub(crate) facts: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// The mount point, as the configuration names it
    pub(crate) mount_point: String,
    /// Only explain; there is nothing else this command does
    #[arg(long, required = true)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What every command that looks at the kernel takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// The configuration file (TOML); `mount-observer print config` shows all it can say
    /// [default: /etc/mount-observer.toml where it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How path system calls are observed; off: nothing outside FUSE costs anything
    /// [default: auto]
    #[arg(long = "probes.statx", value_name = "MODE")]
    statx: Option<StatxArg>,
}

macro_rules! value {
    ($(#[$doc:meta])* $arg:ident => $target:ident { $($(#[$variant_doc:meta])* $variant:ident),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, ValueEnum)]
        pub(crate) enum $arg { $($(#[$variant_doc])* $variant),+ }
        impl From<$arg> for $target {
            fn from(value: $arg) -> Self {
                match value { $($arg::$variant => Self::$variant),+ }
            }
        }
    };
}

value!(LevelArg => LogLevel { Error, Warn, Info, Debug, Trace });
value!(FormatArg => LogFormat { Auto, Text, Json });
value!(BpfArg => BpfLogLevel { Off, Warn, Debug });
value!(StatxArg => StatxMode {
    /// errors, and the time of each stat where its function can be attached to
    Auto,
    /// errno and latency of every call
    Full,
    /// connection-class failures only
    Errors,
    /// not at all
    Off
});

impl Settings {
    /// Flags win over the file.
    pub(crate) fn apply(&self, config: &mut Config) {
        if let Some(statx) = self.statx {
            config.probes.statx = statx.into();
        }
    }
}

impl RunArgs {
    /// Flags win over the file.
    pub(crate) fn apply(&self, config: &mut Config) {
        self.settings.apply(config);
        if let Some(address) = &self.listen_address {
            config.web.listen_address.clone_from(address);
        }
        if let Some(path) = &self.storage_path {
            config.storage.path.clone_from(path);
        }
        if let Some(level) = self.log_level {
            config.log.level = level.into();
        }
        if let Some(format) = self.log_format {
            config.log.format = format.into();
        }
        if let Some(level) = self.log_bpf {
            config.log.bpf = level.into();
        }
    }
}

/// What standard output is; colours can be refused (<https://no-color.org>).
pub(crate) fn medium() -> Medium {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_terminal = std::io::stdout().is_terminal();
    Medium {
        is_terminal,
        is_coloured: is_terminal && !is_refused,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_overrides_the_file() {
        let cli = Cli::parse_from([
            "mount-observer",
            "run",
            "--web.listen-address=:1",
            "--log.level=trace",
            "--log.format=json",
            "--log.bpf=debug",
            "--storage.path=/srv/incidents",
            "--probes.statx=off",
        ]);
        let Command::Run(args) = cli.command else {
            panic!("not run");
        };
        let mut config = Config::default();
        args.apply(&mut config);
        let mut expected = Config::default();
        expected.web.listen_address = ":1".to_owned();
        expected.log.level = LogLevel::Trace;
        expected.log.format = LogFormat::Json;
        expected.log.bpf = BpfLogLevel::Debug;
        expected.probes.statx = StatxMode::Off;
        expected.storage.path = "/srv/incidents".to_owned();
        assert_eq!(config, expected);
    }
}
