//! `mount-observer incidents`: what can be said to it, and what it answers.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use mount_observer::{
    daemon::{
        clock,
        store::{self, Filter, Reader},
    },
    incident::Summary,
    render,
    time::Wall,
};

use super::place::PlaceArgs;

/// Listed unless told otherwise.
const LISTED: usize = 50;

#[derive(Args, Debug)]
pub(crate) struct IncidentsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: ListArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[cfg(test)]
impl IncidentsArgs {
    pub(super) fn place(&self) -> &PlaceArgs {
        &self.place
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// One line for each, the latest first
    List(ListArgs),
    /// All there is to say about one
    Show {
        /// Its id, or as much of it as makes it the only one
        id: String,
        /// Only what may not have reached its file, all of it
        #[arg(long)]
        at_risk: bool,
    },
    /// One self-contained JSON document for a post-mortem
    Export {
        /// Its id, or as much of it as makes it the only one
        id: String,
        /// Where to write it; it must not exist [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
struct ListArgs {
    /// Only those that go on
    #[arg(long)]
    open: bool,
    /// Only those that went on then or later: a time, or how long ago (`2h`, `7days`)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Only those whose mount point matches; `*` matches any characters
    #[arg(long, value_name = "PATTERN")]
    mount: Option<String>,
    /// How many at most, 0 for all [default: 50]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// A time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    At(Wall),
    Ago(Duration),
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Moment::Ago(ago));
    }
    let at = humantime::parse_rfc3339_weak(text).map_err(|_bad| {
        "must be a time such as 2026-01-02T03:04:05Z (UTC), or how long ago: 30m, 2h, 7days"
            .to_owned()
    })?;
    let since_epoch = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
    Ok(Moment::At(Wall(ns)))
}

/// What the command answers: text for standard output.
pub(crate) fn answer(args: &IncidentsArgs) -> anyhow::Result<String> {
    let no_list = ListArgs::default();
    let list = match &args.action {
        Some(Action::List(list)) => list,
        _ => &args.list,
    };
    anyhow::ensure!(
        args.action.is_none() || args.list == no_list,
        "--open, --since, --mount and --limit are for the list: `mount-observer incidents --open`"
    );
    let reader = open(&args.place)?;
    let now = clock::now().wall;
    match &args.action {
        None | Some(Action::List(_)) => {
            let incidents = reader.list(&filter(list, now)?)?;
            if args.json {
                json(&incidents)
            } else {
                Ok(shown(&incidents, list, now))
            }
        }
        Some(Action::Show { id, at_risk }) => {
            let incident = reader.find(id)?;
            match (args.json, at_risk) {
                (true, true) => json(&incident.at_risk),
                (true, false) => json(&incident),
                (false, true) => Ok(render::incidents::at_risk(&incident)),
                (false, false) => Ok(render::incidents::page(&incident, now)),
            }
        }
        Some(Action::Export { id, output }) => {
            let document = json(&render::incidents::export(
                reader.find(id)?,
                now,
                env!("CARGO_PKG_VERSION"),
            ))?;
            match output {
                None => Ok(document),
                Some(path) => {
                    write_new(path, &document)?;
                    Ok(String::new())
                }
            }
        }
    }
}

fn open(place: &PlaceArgs) -> anyhow::Result<Reader> {
    let directory = store::directory(&place.config()?)?;
    let directory = directory.context(
        "nothing is remembered: storage.path is empty in the configuration; --storage.path names a \
         directory",
    )?;
    Ok(Reader::open(&directory)?)
}

fn filter(list: &ListArgs, now: Wall) -> anyhow::Result<Filter> {
    let since = list.since.map(|since| match since {
        Moment::At(at) => at,
        Moment::Ago(ago) => {
            let ns = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
            Wall(now.0.saturating_sub(ns))
        }
    });
    let mount = list.mount.as_deref().map(store::pattern).transpose()?;
    let limit = list.limit.unwrap_or(LISTED);
    Ok(Filter {
        is_open: list.open,
        since,
        mount,
        limit: (limit > 0).then_some(limit),
    })
}

fn shown(incidents: &[Summary], list: &ListArgs, now: Wall) -> String {
    let mut text = render::incidents::table(incidents, now);
    if list.limit.is_none() && incidents.len() == LISTED {
        text.push_str("(the latest 50; --limit 0 lists all)\n");
    }
    text
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    text.push('\n');
    Ok(text)
}

/// What is there is never overwritten.
fn write_new(path: &PathBuf, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        assert_eq!(moment("2h"), Ok(Moment::Ago(Duration::from_hours(2))));
        let at = Wall(1_767_323_045_000_000_000);
        assert_eq!(moment("2026-01-02T03:04:05Z"), Ok(Moment::At(at)));
        assert_eq!(moment("2026-01-02 03:04:05"), Ok(Moment::At(at)));
        assert!(moment("yesterday").is_err());
    }
}
