//! The eBPF object: which toolchain builds it, from which sources, and how.
//!
//! The object is committed, so that `cargo build` needs stable Rust and nothing else. Its provenance
//! lies next to it and says what it was built from and with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{hash, steps};

/// The object, from the workspace's root.
pub(crate) const OBJECT: &str = "mount-observer/assets/mount-observer.bpf.o";
/// Where it comes from.
pub(crate) const PROVENANCE: &str = "mount-observer/assets/mount-observer.bpf.provenance";

/// The crate, and what it contains besides its sources.
const CRATE: &str = "mount-observer-ebpf";
const FILES: [&str; 4] = [
    "mount-observer-common/Cargo.toml",
    "mount-observer-ebpf/.cargo/config.toml",
    "mount-observer-ebpf/Cargo.lock",
    "mount-observer-ebpf/Cargo.toml",
];
const SOURCES: [&str; 2] = ["mount-observer-common/src", "mount-observer-ebpf/src"];

/// What links the object. Its default feature takes the LLVM that comes with rustc.
pub(crate) const LINKER_VERSION: &str = "0.10.3";

const TARGET: &str = "bpfel-unknown-none";

/// Everything that decides the object's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The compiler; any channel, as long as the sources of `core` lie beside it.
    pub(crate) rustc: PathBuf,
    /// The LLVM library for the linker.
    llvm: PathBuf,
    /// What provenance says of it, by name.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Toolchain {
    /// The toolchain that matches `recorded`, or else any that can build.
    pub(crate) fn find(recorded: &BTreeMap<String, String>) -> Result<Self> {
        let mut found = None;
        let mut refused = Vec::new();
        for rustc in ["rustc", "/usr/bin/rustc"] {
            match Self::of(Path::new(rustc)) {
                Ok(toolchain) if toolchain.versions == *recorded => return Ok(toolchain),
                Ok(toolchain) => found = found.or(Some(toolchain)),
                Err(error) => refused.push(format!("  {rustc}: {error:#}")),
            }
        }
        found.with_context(|| {
            format!(
                "no toolchain can build the eBPF object:\n{}\nInstall one with `cargo xtask \
                 build-ebpf --install` (as root on Debian), or by hand: a rustc with the component \
                 rust-src, and `cargo install --locked bpf-linker@{LINKER_VERSION}`",
                refused.join("\n")
            )
        })
    }

    fn of(rustc: &Path) -> Result<Self> {
        let sysroot = PathBuf::from(output(Command::new(rustc).args(["--print", "sysroot"]))?);
        let core = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        if fs::read(&core).is_err() {
            bail!("has no rust-src ({} is missing)", core.display());
        }
        let verbose = output(Command::new(rustc).arg("-vV"))?;
        let version = field(&verbose, "LLVM version: ");
        let llvm = find_llvm(&sysroot, version.split('.').next().unwrap_or_default())?;
        let library = llvm
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let linker = output(
            Command::new("bpf-linker")
                .arg("--version")
                .env("PATH", path()),
        )
        .context("bpf-linker does not run")?;
        let versions = [
            (
                "rustc",
                verbose.lines().next().unwrap_or_default().to_owned(),
            ),
            ("rustc-llvm", version.to_owned()),
            (
                "cargo",
                output(steps::cargo(&["--version"])?.env_remove("RUSTC"))?,
            ),
            ("linker", linker),
            ("linker-llvm", library),
        ];
        let versions = versions
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        Ok(Self {
            rustc: rustc.to_path_buf(),
            llvm,
            versions,
        })
    }

    /// Builds the object and returns its bytes.
    pub(crate) fn build(&self) -> Result<Vec<u8>> {
        let root = steps::workspace_root()?;
        let mut cargo = steps::cargo(&["build", "--locked", "--release"])?;
        cargo.current_dir(root.join(CRATE));
        // What the caller's cargo and shell set must not reach the build.
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "RUSTC_WRAPPER",
        ] {
            cargo.env_remove(name);
        }
        // The sources of `core` need unstable features; RUSTC_BOOTSTRAP allows them on any channel.
        cargo
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("LD_LIBRARY_PATH", self.llvm_directory()?)
            .env("PATH", path());
        steps::run(&mut cargo)?;
        let built = root
            .join(CRATE)
            .join("target")
            .join(TARGET)
            .join("release")
            .join(CRATE);
        let object =
            fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        ensure!(
            !has_mangled_name(&object),
            "the object has a mangled symbol, which depends on the directory: mark it no_mangle"
        );
        Ok(object)
    }

    /// A directory with the LLVM library and nothing else: bpf-linker loads the first `libLLVM*` it
    /// finds on its search path, which on Debian may be an older one.
    fn llvm_directory(&self) -> Result<PathBuf> {
        let directory = steps::workspace_root()?.join(CRATE).join("target/llvm");
        if entries(&directory).is_ok() {
            fs::remove_dir_all(&directory).context("cannot empty the directory of LLVM")?;
        }
        fs::create_dir_all(&directory).context("cannot make the directory of LLVM")?;
        let name = self.llvm.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(&self.llvm, directory.join(name)).context("cannot link LLVM")?;
        Ok(directory)
    }
}

/// The LLVM library of this major version: beside the compiler, where Debian keeps it, or beside the
/// compiler of the cargo that runs us.
fn find_llvm(sysroot: &Path, major: &str) -> Result<PathBuf> {
    let own = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let prefix = format!("libLLVM.so.{major}.");
    [
        sysroot.join("lib"),
        sysroot.join("lib/x86_64-linux-gnu"),
        sysroot.join("lib/aarch64-linux-gnu"),
        PathBuf::from(own).join("lib"),
    ]
    .iter()
    .find_map(|directory| {
        let libraries = entries(directory).ok()?.into_iter().filter(|path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(&prefix)
        });
        libraries.min()
    })
    .with_context(|| format!("no {prefix}* beside rustc for bpf-linker to load"))
}

/// `PATH` with cargo's own binaries, where `cargo install` puts the linker.
fn path() -> std::ffi::OsString {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let old = std::env::var_os("PATH").unwrap_or_default();
    let own = home.map(|home| home.join("bin"));
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&old))).unwrap_or(old)
}

/// The hash of everything the object is built from, by path.
pub(crate) fn source_hashes() -> Result<BTreeMap<String, String>> {
    let root = steps::workspace_root()?;
    let mut files: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).collect();
    for directory in SOURCES {
        collect(&root.join(directory), &mut files)?;
    }
    let mut hashes = BTreeMap::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(&root)?.to_string_lossy().into_owned();
        hashes.insert(name, hash::sha256(&bytes));
    }
    Ok(hashes)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(directory)? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        } else {
            collect(&path, files)?;
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "xtask is no part of the observer"
)]
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Whether a symbol of Rust's v0 scheme is in the string table.
fn has_mangled_name(object: &[u8]) -> bool {
    object
        .windows(4)
        .any(|bytes| bytes == b"_RNv" || bytes == b"_RNC" || bytes == b"_RIN")
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_default()
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!("{} ended with {}", program.display(), output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
