//! `cargo xtask build-ebpf`: builds the eBPF object and notes where it comes from.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{
    ebpf::{self, Toolchain},
    hash,
    provenance::Provenance,
    steps,
};

/// Build the eBPF object that is committed in `mount-observer/assets`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// Install what is missing first: Debian's rustc-web and rust-web-src (as root), and bpf-linker.
    #[arg(long)]
    install: bool,
}

/// Builds, and writes the object and its provenance.
pub(crate) fn run(args: Args) -> Result<()> {
    if args.install {
        install()?;
    }
    let root = steps::workspace_root()?;
    let recorded =
        Provenance::parse(&fs::read_to_string(root.join(ebpf::PROVENANCE)).unwrap_or_default());
    let toolchain = Toolchain::find(&recorded.tools)?;
    let sources = ebpf::source_hashes()?;
    let object = toolchain.build()?;
    let provenance = Provenance {
        object: hash::sha256(&object),
        sources,
        tools: toolchain.versions,
    };
    fs::write(root.join(ebpf::OBJECT), &object).context("cannot write the object")?;
    fs::write(root.join(ebpf::PROVENANCE), provenance.print())
        .context("cannot write the provenance")?;
    let verb = if provenance.object == recorded.object {
        "unchanged"
    } else {
        "written"
    };
    println!("{}: {} bytes, {verb}", ebpf::OBJECT, object.len());
    Ok(())
}

/// Installs whatever the build needs and the machine lacks.
pub(crate) fn install() -> Result<()> {
    if Toolchain::find(&std::collections::BTreeMap::new()).is_ok() {
        return Ok(());
    }
    let linker = format!("bpf-linker@{}", ebpf::LINKER_VERSION);
    steps::run(&mut steps::cargo(&["install", "--locked", &linker])?)?;
    if Toolchain::find(&std::collections::BTreeMap::new()).is_ok() {
        return Ok(());
    }
    steps::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    steps::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(["rustc-web", "rust-web-src"]),
    )
}
