//! `replay`: a recording decided again, here.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use mount_observer::{
    config::listen_address,
    daemon::replay::{self, End, Form, Pace},
    recording::Reader,
    replay::Replay,
};

use super::medium;

/// The recording is damaged, and was replayed up to there.
const DAMAGED: u8 = 3;

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The recording; `-` is standard input
    file: PathBuf,
    /// How many times faster than it was recorded; `max` does not wait at all
    #[arg(long, value_name = "N|max", default_value = "max", value_parser = pace)]
    speed: Pace,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Serve /metrics and the API of the instant that is replayed, and of the end until Ctrl-C
    #[arg(
        long, value_name = "ADDRESS:PORT", num_args = 0..=1, require_equals = true,
        default_missing_value = "127.0.0.1:9967"
    )]
    serve: Option<String>,
    /// Only say what the recording holds
    #[arg(long, conflicts_with_all = ["speed", "serve"])]
    info: bool,
}

/// Replays; the exit code.
pub(crate) fn answer(args: &ReplayArgs) -> anyhow::Result<u8> {
    let bytes = read(&args.file)?;
    let form = if args.json { Form::Json } else { Form::Text };
    if args.info {
        return info(&bytes, form);
    }
    let recording =
        Replay::open(&bytes).with_context(|| format!("cannot replay {}", shown(&args.file)))?;
    let address = args.serve.as_deref().map(address).transpose()?;
    let end = replay::run(recording, args.speed, form, medium(), address)?;
    finish(&end, form)
}

fn info(bytes: &[u8], form: Form) -> anyhow::Result<u8> {
    let mut reader = Reader::open(bytes)?;
    let mut counts = std::collections::BTreeMap::new();
    let mut span = None;
    for entry in reader.by_ref() {
        *counts.entry(entry.said.name()).or_insert(0_u64) += 1;
        if !entry.is_standing {
            let (first, _) = span.unwrap_or((entry.now, entry.now));
            span = Some((first, entry.now));
        }
    }
    let end = End::of(&reader);
    put(&replay::info(&reader, &counts, span, form))?;
    finish(&end, form)
}

/// Says on standard error what is wrong with the recording, where something is.
fn finish(end: &End, form: Form) -> anyhow::Result<u8> {
    if form == Form::Json {
        put(&end.json())?;
    }
    Ok(complain(end))
}

/// The same, as text alone; the exit code.
pub(super) fn complain(end: &End) -> u8 {
    for line in end.complaints() {
        // Standard error may be closed; the exit code tells it too.
        writeln!(io::stderr(), "mount-observer: {line}").ok();
    }
    if end.is_whole() { 0 } else { DAMAGED }
}

pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("cannot read {}", shown(path)))?;
    }
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    mount_observer::render::escape::escaped(&path.to_string_lossy())
}

fn address(text: &str) -> anyhow::Result<SocketAddr> {
    listen_address(text)
        .with_context(|| format!("{text:?} is no address and port, as :9968 or 127.0.0.1:9968 are"))
}

pub(super) fn put(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

fn pace(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    let times: Option<NonZero<u32>> = text.trim_end_matches('x').parse().ok();
    times
        .map(Pace::Times)
        .ok_or_else(|| "must be a whole number, 1 or more, or max".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_number_or_max() {
        assert_eq!(pace("max"), Ok(Pace::Max));
        assert_eq!(pace("10"), Ok(Pace::Times(NonZero::new(10).unwrap())));
        assert!(pace("0").is_err());
        assert!(pace("fast").is_err());
    }
}
