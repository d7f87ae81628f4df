//! `cargo xtask dist`: the Debian package.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::steps::{self, cargo, run as run_command};

/// Packs by what `mount-observer/Cargo.toml` says.
const CARGO_DEB: &str = "3.8.0";

/// Files that the program itself prints, and what they are called in the package's sources.
const PRINTED: [(&str, &str); 6] = [
    ("config", "mount-observer.toml"),
    ("alert-rules", "alert-rules.yml"),
    ("systemd-recovery-dropin", "recovery.conf"),
    ("completion-bash", "completion.bash"),
    ("completion-zsh", "completion.zsh"),
    ("completion-fish", "completion.fish"),
];

/// Build the Debian package, in target/dist: program, systemd unit, configuration, rules for
/// Prometheus and documentation.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Version of the package, with its Debian revision; that of the program by default.
    #[arg(long)]
    version: Option<String>,
}

/// Builds the program and packs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    run_command(&mut cargo(&[
        "build",
        "--release",
        "--package=mount-observer",
    ])?)?;
    let program = steps::workspace_root()?.join("target/release/mount-observer");
    let package = package(&program, args.version.as_deref())?;
    println!("{}", package.display());
    Ok(())
}

/// Packs a program that was built.
pub(crate) fn package(program: &Path, version: Option<&str>) -> Result<PathBuf> {
    let root = steps::workspace_root()?;
    let directory = root.join("target/dist");
    fs::create_dir_all(&directory).context("target/dist")?;
    fs::copy(program, directory.join("mount-observer")).context("the program")?;
    for (document, name) in PRINTED {
        fs::write(directory.join(name), print(program, &[document])?)?;
    }
    manual(program, &directory.join("man"))?;
    let name = format!("mount-observer_{}_amd64.deb", version.unwrap_or("latest"));
    let output = directory.join(name);
    let mut pack = Command::new(cargo_deb(&root)?);
    pack.current_dir(&root)
        .args([
            "--package=mount-observer",
            "--no-build",
            "--no-strip",
            "--quiet",
        ])
        .arg("--output")
        .arg(&output);
    if let Some(version) = version {
        pack.args(["--deb-version", version]);
    }
    run_command(&mut pack)?;
    Ok(output)
}

/// The manual pages: the program's, and those of the commands it names.
fn manual(program: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).context("target/dist/man")?;
    let page = print(program, &["man-page"])?;
    let text = page.replace('\\', "");
    let named = text.split_whitespace().filter_map(|word| {
        let command = word.strip_prefix("mount-observer-")?;
        Some(command.split_once("(1)")?.0)
    });
    for command in named {
        let page = print(program, &["man-page", command])?;
        fs::write(directory.join(format!("mount-observer-{command}.1")), page)?;
    }
    Ok(fs::write(directory.join("mount-observer.1"), page)?)
}

fn print(program: &Path, words: &[&str]) -> Result<String> {
    let printed = Command::new(program).arg("print").args(words).output()?;
    ensure!(printed.status.success(), "print {}", words.join(" "));
    String::from_utf8(printed.stdout).context("what it printed is no text")
}

/// cargo-deb, installed for this project alone.
fn cargo_deb(root: &Path) -> Result<PathBuf> {
    let tools = root.join("target/tools");
    let program = tools.join("bin/cargo-deb");
    let found = Command::new(&program).arg("--version").output();
    if !found.is_ok_and(|found| String::from_utf8_lossy(&found.stdout).contains(CARGO_DEB)) {
        let mut install = cargo(&["install", "cargo-deb", "--locked", "--version", CARGO_DEB])?;
        run_command(install.arg("--root").arg(&tools))?;
    }
    Ok(program)
}
