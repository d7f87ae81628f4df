//! Where commands find what a daemon keeps.

use std::path::PathBuf;

use clap::Args;
use mount_observer::{config::Config, daemon::config_file::ConfigSource};

/// What every command on the journal takes, before a subcommand or behind it.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlaceArgs {
    /// The configuration file (TOML) [default: /etc/mount-observer.toml where it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where incidents and silences are kept [default: /var/lib/mount-observer]
    #[arg(long = "storage.path", value_name = "DIR", global = true, value_parser = directory)]
    storage: Option<String>,
}

impl PlaceArgs {
    /// The configuration; the flag wins over the file.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let storage = self.storage.clone();
        let source = ConfigSource::new(self.config.clone(), move |config| {
            if let Some(path) = &storage {
                config.storage.path.clone_from(path);
            }
        });
        Ok(source.read()?)
    }
}

/// A directory, from wherever it was said, as the configuration takes it: absolute, or empty.
pub(crate) fn directory(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let absolute = std::path::absolute(text).map_err(|error| error.to_string())?;
    let absolute = absolute.into_os_string().into_string();
    absolute.map_err(|_bytes| "the working directory's name is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn each_command_on_the_journal_takes_a_relative_path_wherever_it_stands() {
        let here = std::env::current_dir().unwrap();
        let here = here.join("st").display().to_string();
        for line in [
            "incidents --storage.path ./st",
            "incidents show 1 --storage.path ./st",
            "silence --mount /a --for 1h --storage.path ./st",
            "silence list --storage.path ./st",
            "silence end 1 --storage.path ./st",
            "drill --mount /a --storage.path ./st",
        ] {
            let words = line.split(' ');
            let cli = Cli::try_parse_from(std::iter::once("mount-observer").chain(words));
            let cli = cli.unwrap_or_else(|error| panic!("{line}: {error}"));
            let place = if let Command::Incidents(args) = &cli.command {
                args.place()
            } else if let Command::Silence(args) = &cli.command {
                args.place()
            } else if let Command::Drill(args) = &cli.command {
                args.place()
            } else {
                panic!("another command: {line}");
            };
            assert_eq!(place.storage.as_deref(), Some(here.as_str()), "{line}");
        }
        assert_eq!(directory(""), Ok(String::new()));
    }
}
