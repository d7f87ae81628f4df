//! `mount-observer top`: what can be said to it.

use clap::Args;
use mount_observer::daemon::{
    config_file::ConfigSource,
    top::{Source, top},
};

use super::{Settings, medium};

#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    settings: Settings,
    /// The daemon to ask, and no other [default: where the configuration has it listen:
    /// 127.0.0.1:9967]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ask no daemon: attach, as `run` does
    #[arg(long, conflicts_with = "url")]
    attach: bool,
}

/// Shows until a key or a signal ends it.
pub(crate) fn show(args: &TopArgs) -> anyhow::Result<()> {
    let settings = args.settings.clone();
    let config = ConfigSource::new(settings.config.clone(), move |config| {
        settings.apply(config);
    });
    let source = match &args.url {
        Some(url) => Source::Url(url.clone()),
        None if args.attach => Source::Itself,
        None => Source::Whoever,
    };
    Ok(top(&config.read()?, source, medium().is_coloured)?)
}
