//! `mount-observer top`: what can be said to it.

use std::io::Write as _;

use clap::Args;
use mount_observer::daemon::{
    config_file::ConfigSource,
    top::{Source, top},
};

use super::{Settings, medium, record::RecordArgs};

#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    settings: Settings,
    /// The daemon to ask, and no other [default: where the configuration has it listen:
    /// 127.0.0.1:9967]
    #[arg(long, value_name = "URL", conflicts_with = "record")]
    url: Option<String>,
    /// Ask no daemon: attach, as `run` does
    #[arg(long, conflicts_with = "url")]
    attach: bool,
    #[command(flatten)]
    record: RecordArgs,
}

/// Shows until a key or a signal ends it.
pub(crate) fn show(args: &TopArgs) -> anyhow::Result<()> {
    let settings = args.settings.clone();
    let config = ConfigSource::new(settings.config.clone(), move |config| {
        settings.apply(config);
    });
    let source = match &args.url {
        Some(url) => Source::Url(url.clone()),
        None => match args.record.options()? {
            Some(recorded) => Source::Itself(Some(recorded)),
            None if args.attach => Source::Itself(None),
            None => Source::Whoever,
        },
    };
    let report = top(&config.read()?, source, medium().is_coloured)?;
    let Some((report, path)) = report.and_then(|report| Some((report.clone(), report.path?)))
    else {
        return Ok(());
    };
    if let Some(failure) = report.failure {
        anyhow::bail!("{} ends early: {failure}", path.display());
    }
    // Standard error may be closed; there is nobody else to tell.
    writeln!(
        std::io::stderr(),
        "recorded to {}: {} inputs, {} lost",
        path.display(),
        report.recorded,
        report.lost
    )
    .ok();
    Ok(())
}
