//! `cargo xtask check-ebpf`: whether the committed eBPF object is what its sources make.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    build_ebpf,
    ebpf::{self, Toolchain},
    hash,
    provenance::Provenance,
    steps,
};

/// Check that the committed eBPF object belongs to the sources, and rebuild it where possible.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Args {
    /// Fail where the object cannot be rebuilt and compared byte for byte.
    #[arg(long)]
    require_rebuild: bool,
    /// Install what the rebuild needs first.
    #[arg(long)]
    install: bool,
}

/// Compares hashes, then bytes.
pub(crate) fn run(args: Args) -> Result<()> {
    let root = steps::workspace_root()?;
    let text = fs::read_to_string(root.join(ebpf::PROVENANCE))
        .context("cannot read the provenance: run `cargo xtask build-ebpf`")?;
    let recorded = Provenance::parse(&text);
    let object = fs::read(root.join(ebpf::OBJECT)).context("cannot read the object")?;
    ensure!(
        hash::sha256(&object) == recorded.object,
        "{} is not the object its provenance describes: run `cargo xtask build-ebpf`",
        ebpf::OBJECT
    );
    let changed = recorded.changed_sources(&ebpf::source_hashes()?);
    ensure!(
        changed.is_empty(),
        "changed since the object was built: {}; run `cargo xtask build-ebpf`",
        changed.join(" ")
    );
    println!(
        "the object and its {} sources are as recorded",
        recorded.sources.len()
    );
    if args.install {
        build_ebpf::install()?;
    }
    rebuild(&recorded, &object, args.require_rebuild)
}

/// Rebuilds where a toolchain is there. Another toolchain than the recorded one may make other
/// bytes: that is no error unless the rebuild is required.
fn rebuild(recorded: &Provenance, object: &[u8], is_required: bool) -> Result<()> {
    let toolchain = match Toolchain::find(&recorded.tools) {
        Ok(toolchain) => toolchain,
        Err(error) if is_required => return Err(error),
        Err(error) => {
            println!("not rebuilt: {error:#}");
            return Ok(());
        }
    };
    let is_recorded = toolchain.versions == recorded.tools;
    if toolchain.build()? == object {
        println!("rebuilt byte for byte with {}", toolchain.rustc.display());
        return Ok(());
    }
    if is_recorded || is_required {
        bail!(
            "rebuilding makes other bytes\nrecorded with: {:?}\nrebuilt with: {:?}",
            recorded.tools,
            toolchain.versions
        );
    }
    println!("rebuilt with another toolchain than recorded, to other bytes: nothing is proven");
    Ok(())
}
