//! Everything this project does besides compiling: `cargo xtask --help`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool talks on stdout")]

mod demo;
mod packages;
mod steps;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and demonstrates mount-observer.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the tests: formatting, lints, unit and property tests, then real mounts (as root).
    Test(test::Args),
    /// In ten seconds: break a mount four ways and show what the observer says; needs root.
    Demo,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Demo => demo::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
