//! `cargo xtask test`: the one command that decides whether the project is in order.

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{
    packages, rules,
    steps::{Steps, cargo, run as run_command},
    vm,
};

/// Tests of real mounts that run at the same time: they mostly wait, and each runs an observer.
const HOST_TEST_THREADS: &str = "4";

/// Crates the pure part must not have in its tree: what talks to a kernel, a socket or a clock.
const NOT_PURE: [&str; 8] = [
    "aya",
    "axum",
    "caps",
    "prometheus",
    "rustix",
    "sd-notify",
    "tokio",
    "tracing",
];

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to run.
    #[arg(value_enum, default_value_t = Scope::All)]
    scope: Scope,
    #[command(flatten)]
    guests: vm::Request,
    /// Do not install anything. As root on Debian, what is missing is installed: Debian packages
    /// through apt-get, and the toolchain that rebuilds the eBPF object. Otherwise it is named.
    #[arg(long)]
    no_install: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// Formatting, lints, unit, property and replay tests, the eBPF object against its sources.
    Unit,
    /// Real mounts on this machine's kernel; needs root.
    Host,
    /// Real mounts on the kernels of Debian 11 to 13 and newer, each in an emulator.
    Vm,
    /// The Debian package on a machine that systemd runs, in an emulator; minutes. Part of
    /// `vm --thorough` and `vm --full`.
    Package,
    /// All of it, but the package.
    All,
}

/// Runs every step of the scope, and fails when any failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        args.scope == Scope::Vm || !args.guests.is_special(),
        "kernels, tests, --thorough, --full and --kvm are for `cargo xtask test vm` alone"
    );
    let install = !args.no_install && packages::may_install();
    let mut steps = Steps::new();
    let includes = |scope| [scope, Scope::All].contains(&args.scope);
    if includes(Scope::Unit) {
        unit(&mut steps, install);
    }
    if includes(Scope::Host) {
        host(&mut steps, install);
    }
    if includes(Scope::Vm) {
        guests(&mut steps, install, &args.guests);
    }
    if args.scope == Scope::Package || args.guests.is_long() {
        package(&mut steps, install);
    }
    steps.finish()
}

fn unit(steps: &mut Steps, install: bool) {
    steps.step("formatting", || {
        run_command(&mut cargo(&["fmt", "--all", "--check"])?)?;
        run_command(&mut cargo(&[
            "fmt",
            "--manifest-path=mount-observer-ebpf/Cargo.toml",
            "--check",
        ])?)
    });
    steps.step("lints of the pure part alone", || {
        clippy(&["--package=mount-observer", "--no-default-features"])
    });
    // Not the eBPF crate: it needs the compiler with `rust-src` (Debian's, `xtask build-ebpf`), and no
    // clippy of that version comes with it.
    steps.step("lints of everything", || clippy(&["--workspace"]));
    steps.step(
        "the pure part depends on nothing that reads the world",
        pure_tree,
    );
    steps.step("unit, property and replay tests", || {
        run_command(&mut cargo(&[
            "test",
            "--workspace",
            "--exclude=mount-observer-tests",
        ])?)?;
        run_command(&mut cargo(&[
            "test",
            "--package=mount-observer-tests",
            "--lib",
            "--bins",
        ])?)
    });
    steps.step("the eBPF object is built from these sources", || {
        check_ebpf(install)
    });
}

fn host(steps: &mut Steps, install: bool) {
    steps.step("what the tests on real mounts need", || {
        packages::provide(&packages::MOUNTS, install)
    });
    steps.step("whom the observer tells", || {
        packages::unpack(&packages::RECEIVERS, install)
    });
    steps.step("the rules for Prometheus", rules::check);
    steps.step("the observer as users run it", || {
        run_command(&mut cargo(&["build", "--package=mount-observer"])?)
    });
    steps.step("real mounts", || {
        run_command(&mut cargo(&[
            "test",
            "--package=mount-observer-tests",
            "--tests",
            "--no-fail-fast",
            "--",
            "--test-threads",
            HOST_TEST_THREADS,
        ])?)
    });
}

fn guests(steps: &mut Steps, install: bool, args: &vm::Request) {
    steps.step("what guests need", || {
        packages::provide(&packages::MOUNTS, install)?;
        packages::provide(&packages::GUESTS, install)
    });
    steps.step("real mounts on every kernel", || vm::test(args));
}

fn package(steps: &mut Steps, install: bool) {
    steps.step("what the package's guest needs", || {
        packages::provide(&packages::GUESTS, install)?;
        packages::provide(&packages::SYSTEM, install)
    });
    steps.step(
        "the Debian package: installed, upgraded, purged",
        vm::package,
    );
}

fn clippy(what: &[&str]) -> Result<()> {
    let mut command = cargo(&["clippy", "--all-targets"])?;
    run_command(command.args(what).args(["--", "--deny=warnings"]))
}

/// A checkout without the toolchain can still compare hashes; CI must rebuild byte for byte.
fn check_ebpf(install: bool) -> Result<()> {
    let mut command = cargo(&["xtask", "check-ebpf"])?;
    if install {
        command.arg("--install");
    }
    if std::env::var_os("CI").is_some() {
        command.arg("--require-rebuild");
    }
    run_command(&mut command)
}

fn pure_tree() -> Result<()> {
    let output = cargo(&[
        "tree",
        "--package=mount-observer",
        "--no-default-features",
        "--edges=normal",
        "--prefix=none",
        "--format={p}",
    ])?
    .output()
    .context("cannot run cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).context("cargo tree")?;
    let impure = impure(&tree);
    ensure!(
        impure.is_empty(),
        "without default features mount-observer depends on {}",
        impure.join(", ")
    );
    Ok(())
}

/// The forbidden crates in `cargo tree --prefix=none --format={p}`, and an alarm when the tree does
/// not even hold the crate itself.
fn impure(tree: &str) -> Vec<&str> {
    let names: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    if !names.contains(&"mount-observer") {
        return vec!["(an unreadable tree)"];
    }
    NOT_PURE
        .into_iter()
        .filter(|forbidden| names.contains(forbidden))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_with_tokio_is_impure_and_an_empty_tree_proves_nothing() {
        assert_eq!(
            impure("mount-observer v0.1.0 (/x)\nserde v1.0.0\n"),
            Vec::<&str>::new()
        );
        assert_eq!(
            impure("mount-observer v0.1.0 (/x)\nserde v1.0.0\ntokio v1.0.0\n"),
            ["tokio"]
        );
        assert_eq!(impure(""), ["(an unreadable tree)"]);
    }

    #[test]
    fn a_crate_whose_name_only_begins_alike_is_not_taken_for_another() {
        assert_eq!(
            impure("mount-observer v0.1.0 (/x)\ntracing-core v0.1.0\n"),
            Vec::<&str>::new()
        );
    }
}
