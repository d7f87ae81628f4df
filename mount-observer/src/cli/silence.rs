//! `mount-observer silence`: mount points about which the sinks are not told for a while.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use mount_observer::{
    config::Config,
    daemon::{
        clock,
        store::{self, Database, Reader, StoreError},
    },
    notify::{SILENCES_MAX, Silence},
    render::escape::escaped,
    snapshot::Snapshot,
    time::{Wall, nanos},
};

use super::place::PlaceArgs;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct SilenceArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// Mount points it is about; `*` matches any characters
    #[arg(long, value_name = "GLOB", required = true)]
    mount: Option<String>,
    /// How long: 30min, 2h, 3days
    #[arg(long = "for", value_name = "DURATION", required = true, value_parser = duration)]
    time: Option<Duration>,
    /// Why, for whoever reads the list
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[cfg(test)]
impl SilenceArgs {
    pub(super) fn place(&self) -> &PlaceArgs {
        &self.place
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The silences that count now
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End one before its time
    End {
        /// Its id, or how that begins
        id: String,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("it must be more than 0s".to_owned());
    }
    Ok(duration)
}

/// Does it, and says what was done.
pub(crate) fn answer(args: &SilenceArgs) -> anyhow::Result<String> {
    match &args.action {
        Some(Action::List { json }) => list(&args.place, *json),
        Some(Action::End { id }) => {
            let ended = database(&args.place)?.end_silence(id, clock::now().wall)?;
            Ok(format!("ended {}\n", line(&ended)))
        }
        None => begin(args),
    }
}

fn begin(args: &SilenceArgs) -> anyhow::Result<String> {
    let (Some(mount), Some(time)) = (&args.mount, args.time) else {
        bail!("--mount and --for are needed");
    };
    let now = clock::now().wall;
    let silence = Silence {
        // Short, and another one a second later.
        id: format!("{:x}", (now.0 / 1_000_000) & 0xfff_ffff),
        mount: mount.clone(),
        created_unix_ns: now,
        ends_unix_ns: Wall(now.0.saturating_add(nanos(time))),
        reason: args.reason.clone(),
    };
    silence.matcher()?;
    let database = database(&args.place)?;
    let there = database.silences(now)?.len();
    ensure!(
        there < SILENCES_MAX,
        "there are {there} silences already; end some"
    );
    database.silence(&silence)?;
    Ok(format!("{}\n", line(&silence)))
}

fn list(place: &PlaceArgs, is_json: bool) -> anyhow::Result<String> {
    let silences = match Reader::open(&directory(place)?) {
        Ok(reader) => reader.silences(clock::now().wall)?,
        Err(StoreError::Absent { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if is_json {
        return Ok(serde_json::to_string_pretty(&silences)? + "\n");
    }
    let mut out = String::new();
    for silence in &silences {
        writeln!(out, "{}", line(silence))?;
    }
    if silences.is_empty() {
        out.push_str("No mount point is silenced\n");
    }
    Ok(out)
}

/// The silences that keep what is wrong now from the sinks, one line each; nothing where none can be
/// read.
pub(crate) fn of_snapshot(config: &Config, snapshot: &Snapshot) -> String {
    let Ok(Some(directory)) = store::directory(config) else {
        return String::new();
    };
    let silences = Reader::open(&directory).and_then(|reader| reader.silences(clock::now().wall));
    let is_about = |silence: &&Silence| {
        let Ok(matcher) = silence.matcher() else {
            return false;
        };
        let wrong = snapshot.superblocks.iter();
        let mut wrong = wrong.filter(|superblock| superblock.severity.is_some());
        wrong.any(|superblock| {
            let mut mounts = superblock.mounts.iter();
            mounts.any(|mount| matcher.is_match(&mount.mount_point))
        })
    };
    let silences = silences.unwrap_or_default();
    let mut out = String::new();
    for silence in silences.iter().filter(is_about) {
        // A `String` as a writer never fails.
        writeln!(out, "Silenced: {}", line(silence)).ok();
    }
    out
}

/// `1a2b3c4 /srv/* until 2026-01-02T03:04:05Z: why`.
fn line(silence: &Silence) -> String {
    let ends = std::time::UNIX_EPOCH + Duration::from_nanos(silence.ends_unix_ns.0);
    let ends = humantime::format_rfc3339_seconds(ends);
    let (id, mount) = (escaped(&silence.id), escaped(&silence.mount));
    let reason = if silence.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", escaped(&silence.reason))
    };
    format!("{id} {mount} until {ends}{reason}")
}

fn directory(place: &PlaceArgs) -> anyhow::Result<PathBuf> {
    let directory = store::directory(&place.config()?)?;
    directory.context("nothing is kept (storage.path is empty), silences neither")
}

fn database(place: &PlaceArgs) -> anyhow::Result<Database> {
    Ok(Database::open(&directory(place)?)?)
}
