//! The command line.

#![deny(unsafe_code)]

mod cli;

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use clap_complete::Shell;
use mount_observer::{
    config,
    daemon::{
        check::check,
        config_file::{ConfigFileError, ConfigSource},
        facts, hand, log,
        look::look,
        recover,
        run::run,
        top::TopError,
    },
    documents,
    render::{self, nagios},
};

use crate::cli::{CheckArgs, Cli, Command, Document, RecoverArgs, RunArgs, StatusArgs};

/// Failure at run time.
const FAILED: u8 = 1;
/// Bad command line or configuration; clap uses the same.
const USAGE: u8 = 2;
/// `check` found something missing.
const DEGRADED: u8 = 3;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misspoken(&error),
    };
    let is_nagios = matches!(&cli.command, Command::Status(args) if args.nagios);
    let result = match cli.command {
        Command::Run(args) => observe(args),
        Command::Status(args) => status(&args),
        Command::Check(args) => check_kernel(&args),
        Command::Top(args) => cli::top::show(&args).map(|()| 0),
        Command::Trace(args) => cli::trace::run(&args),
        Command::Explain(args) => cli::explain::answer(&args).and_then(|text| {
            show(&text)?;
            Ok(0)
        }),
        Command::Incidents(args) => cli::incidents::answer(&args).and_then(|text| {
            show(&text)?;
            Ok(0)
        }),
        Command::Recover(args) => recover(&args),
        Command::Replay(args) => cli::replay::answer(&args),
        Command::Silence(args) => cli::silence::answer(&args).and_then(|text| {
            show(&text)?;
            Ok(0)
        }),
        Command::Drill(args) => {
            let is_well = cli::drill::rehearse(&args, show);
            is_well.map(|is_well| if is_well { 0 } else { FAILED })
        }
        Command::Print { document, command } => print(document, command.as_deref()),
        Command::Hand => hand::serve()
            .map(|()| 0)
            .context("only the daemon starts this"),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_nagios => {
            let (status, line) = nagios::nagios_failure(&format!("{error:#}"));
            plugin_line(status, &line).into()
        }
        Err(error) => {
            let is_usage = error.is::<ConfigFileError>()
                || error.is::<clap::Error>()
                || matches!(error.downcast_ref(), Some(TopError::NoTerminal));
            // Standard error may be closed; there is nobody else to tell.
            writeln!(std::io::stderr(), "mount-observer: {error:#}").ok();
            ExitCode::from(if is_usage { USAGE } else { FAILED })
        }
    }
}

/// Help and version are answers; all else is a mistake, which must not look like a critical mount
/// to whoever reads a plugin's exit code.
fn misspoken(error: &clap::Error) -> ExitCode {
    // Where standard output is closed there is nobody to tell.
    error.print().ok();
    if !error.use_stderr() {
        ExitCode::SUCCESS
    } else if std::env::args_os().any(|argument| argument == "--nagios") {
        let why = error.kind().to_string();
        let (status, line) = nagios::nagios_failure(&format!("bad command line: {why}"));
        plugin_line(status, &line).into()
    } else {
        USAGE.into()
    }
}

fn observe(args: RunArgs) -> anyhow::Result<u8> {
    let path = args.settings.config.clone();
    let recorded = args.record.options();
    let recorded = recorded.context("cannot find the working directory")?;
    let source = ConfigSource::new(path, move |config| args.apply(config));
    let config = source.read()?;
    let log = log::start(&config.log);
    run(&config, source, &log, recorded.as_ref())?;
    Ok(0)
}

fn status(args: &StatusArgs) -> anyhow::Result<u8> {
    let settings = args.settings.clone();
    let source = ConfigSource::new(settings.config.clone(), move |config| {
        settings.apply(config);
    });
    let config = source.read()?;
    let snapshot = look(&config)?;
    if args.nagios {
        let (status, line) = nagios::nagios(&snapshot);
        return Ok(plugin_line(status, &line));
    }
    if args.json {
        show_json(&*snapshot)?;
    } else {
        show(&render::status::table(&snapshot, cli::medium()))?;
        show(&cli::silence::of_snapshot(&config, &snapshot))?;
    }
    Ok(0)
}

/// Shows a plugin's line. Its exit code is the answer even where the line cannot be shown: 1 would
/// be a warning.
fn plugin_line(status: nagios::Status, line: &str) -> u8 {
    if let Err(error) = show(&format!("{line}\n")) {
        writeln!(std::io::stderr(), "mount-observer: {error:#}").ok();
    }
    status.exit_code()
}

fn check_kernel(args: &CheckArgs) -> anyhow::Result<u8> {
    if args.facts {
        show_json(&facts::gather().facts)?;
        return Ok(0);
    }
    let settings = args.settings.clone();
    let source = ConfigSource::new(settings.config.clone(), move |config| {
        settings.apply(config);
    });
    let report = check(&source.read()?);
    if args.json {
        show_json(&report)?;
    } else {
        show(&report.text())?;
    }
    Ok(if report.is_degraded() { DEGRADED } else { 0 })
}

fn recover(args: &RecoverArgs) -> anyhow::Result<u8> {
    let settings = args.settings.clone();
    let source = ConfigSource::new(settings.config.clone(), move |config| {
        settings.apply(config);
    });
    let report = recover::explain(&source.read()?, &args.mount_point)?;
    if args.json {
        show_json(&report)?;
    } else {
        show(&report.text())?;
    }
    Ok(0)
}

fn print(document: Document, command: Option<&str>) -> anyhow::Result<u8> {
    if command.is_some() && !matches!(document, Document::ManPage) {
        let message = "only man-page is about a command";
        return Err(Cli::command()
            .error(ErrorKind::ArgumentConflict, message)
            .into());
    }
    show(&match document {
        Document::SystemdUnit => documents::SYSTEMD_UNIT.to_owned(),
        Document::SystemdRecoveryDropin => documents::SYSTEMD_RECOVERY_DROPIN.to_owned(),
        Document::AlertRules => documents::ALERT_RULES.to_owned(),
        Document::ManPage => cli::man_page(command)?,
        Document::CompletionBash => cli::completion(Shell::Bash),
        Document::CompletionZsh => cli::completion(Shell::Zsh),
        Document::CompletionFish => cli::completion(Shell::Fish),
        Document::Config => config::commented_default(),
        Document::ApiDoc => render::api::markdown(),
        Document::ConfigDoc => config::markdown(),
        Document::MetricsDoc => render::metrics::markdown(),
    })?;
    Ok(0)
}

fn show_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    text.push('\n');
    show(&text)
}

/// A reader that has seen enough (`| head`) is no failure.
fn show(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}
