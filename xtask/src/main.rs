//! Everything this project does besides compiling: `cargo xtask --help`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool talks on stdout")]

mod bench;
mod build_ebpf;
mod check_ebpf;
mod demo;
mod dist;
mod ebpf;
mod hash;
mod packages;
mod provenance;
mod rules;
mod steps;
mod test;
mod vm;

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
    /// Run the tests: formatting, lints, unit and property tests, then (as root) real mounts, here and
    /// on ten emulated kernels.
    Test(test::Args),
    /// Run a command in an emulated guest.
    Guest(vm::Command),
    /// Capture what kernels of the matrix offer into tests/data/kernels, for the tests of the plan; some
    /// two minutes for all of them.
    Facts(vm::Facts),
    /// Record every fault on kernels of the matrix, as data of the tests; a quarter of an hour for all.
    Recordings(vm::Recordings),
    /// Write docs/KERNELS.md: how the observer attaches on every kernel, and what that costs; some
    /// minutes. Of single kernels it only prints their part.
    Kernels(vm::Describe),
    /// Measure what the observer costs the observed; needs root and an otherwise idle machine.
    Bench(bench::Args),
    /// Build the eBPF object that is committed in `mount-observer/assets`.
    BuildEbpf(build_ebpf::Args),
    /// Check that the committed eBPF object belongs to the sources, and rebuild it where possible.
    CheckEbpf(check_ebpf::Args),
    /// Build the Debian package.
    Dist(dist::Args),
    /// In ten seconds: break a mount four ways and show what the observer says; needs root.
    Demo,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Guest(command) => vm::command(&command),
        Command::Facts(args) => vm::facts(&args),
        Command::Recordings(args) => vm::recordings(&args),
        Command::Kernels(args) => vm::describe(&args),
        Command::Bench(args) => bench::run(args),
        Command::BuildEbpf(args) => build_ebpf::run(args),
        Command::CheckEbpf(args) => check_ebpf::run(args),
        Command::Dist(args) => dist::run(&args),
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
