//! `mount-observer explain`: what can be said to it.

use std::ffi::OsString;

use clap::Args;
use mount_observer::daemon::{clock, config_file::ConfigSource, explain::explain};

use super::Settings;

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    settings: Settings,
    /// A file or directory; it need not exist
    path: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the command answers: text for standard output.
pub(crate) fn answer(args: &ExplainArgs) -> anyhow::Result<String> {
    let settings = args.settings.clone();
    let source = ConfigSource::new(settings.config.clone(), move |config| {
        settings.apply(config);
    });
    let explanation = explain(&source.read()?, &args.path)?;
    if args.json {
        Ok(serde_json::to_string_pretty(&explanation)? + "\n")
    } else {
        Ok(explanation.text(clock::now().wall))
    }
}
