//! Gets kernels from the mirror into `target/vm`, without installing anything.
//!
//! apt is given directories of its own, so that nothing in `/etc/apt`, `/var/lib/apt` and
//! `/var/cache/apt` changes. What was unpacked once is kept, by version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    index::{self, KernelPackages, Package},
    mirror::Mirrors,
};

/// Debian's keys, where sources do not name others. Newer releases trust no key without it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// `6.12.117+deb13-cloud-amd64`.
    pub(super) release: String,
    /// What boots.
    pub(super) image: PathBuf,
    /// `.../lib/modules/RELEASE`.
    pub(super) modules: PathBuf,
}

/// A mirror, with apt's directories for it.
#[derive(Debug)]
pub(super) struct Archive {
    directory: PathBuf,
    mirror: String,
    packages: Vec<Package>,
}

impl Archive {
    /// Reads the mirror's package index.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let mirrors = Mirrors::find(&source_files()?)?;
        let mut archive = Self {
            directory: directory.to_path_buf(),
            mirror: mirrors.main().to_owned(),
            packages: Vec::new(),
        };
        for name in [
            "lists/partial",
            "archives/partial",
            "log",
            "none",
            "downloads",
        ] {
            fs::create_dir_all(archive.apt(name)).context("cannot make apt's directories")?;
        }
        fs::write(archive.apt("status"), "")?;
        let mut options = "arch=amd64 target=Packages".to_owned();
        if is_there(Path::new(KEYRING)) {
            options = format!("{options} signed-by={KEYRING}");
        }
        let sources = mirrors.sources(&options);
        fs::write(archive.apt("sources.list"), sources)?;
        let mut update = archive.command("apt-get");
        succeed(update.args(["-oAPT::Update::Error-Mode=any", "--quiet", "update"]))
            .context("the mirror cannot be reached")?;
        for path in entries(&archive.apt("lists"))? {
            if path.to_string_lossy().ends_with("_Packages") {
                archive
                    .packages
                    .extend(index::parse(&fs::read_to_string(path)?));
            }
        }
        Ok(archive)
    }

    /// Where Debian's releases are.
    pub(super) fn mirror(&self) -> &str {
        &self.mirror
    }

    /// The current kernel of a series; `None` when the mirror has none.
    pub(super) fn kernel(&self, series: &str) -> Result<Option<Kernel>> {
        let Some(found) = index::resolve(&self.packages, series) else {
            return Ok(None);
        };
        let version = found
            .packages
            .first()
            .map_or("", |image| image.version.as_str());
        let directory = self
            .directory
            .join("kernels")
            .join(format!("{}_{version}", found.release));
        if !is_there(&directory) {
            self.unpack(&found, &directory)
                .with_context(|| format!("the packages of {}", found.release))?;
        }
        locate(&directory, &found.release).map(Some)
    }

    /// Complete or not there: unpacked beside its place, then renamed.
    fn unpack(&self, kernel: &KernelPackages, directory: &Path) -> Result<()> {
        println!("    downloading {}", kernel.release);
        let downloads = self.apt("downloads");
        let unfinished = self.directory.join("kernels/unfinished");
        if is_there(&unfinished) {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        for package in &kernel.packages {
            let what = format!("{}={}", package.name, package.version);
            let mut download = self.command("apt-get");
            succeed(
                download
                    .args(["--quiet", "download", &what])
                    .current_dir(&downloads),
            )?;
            let prefix = format!("{}_", package.name);
            for path in entries(&downloads)? {
                let is_it = path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
                if is_it {
                    succeed(
                        Command::new("dpkg-deb")
                            .arg("--extract")
                            .arg(&path)
                            .arg(&unfinished),
                    )?;
                    fs::remove_file(path)?;
                }
            }
        }
        fs::rename(&unfinished, directory).context("cannot keep what was unpacked")
    }

    fn apt(&self, name: &str) -> PathBuf {
        self.directory.join("apt").join(name)
    }

    /// apt on our directories. Proxies and the like remain those of the machine.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args([
            "-oAPT::Sandbox::User=root",
            "-oAPT::Architecture=amd64",
            "-oAcquire::Languages=none",
            "-oAcquire::GzipIndexes=false",
            "-oAcquire::Check-Valid-Until=false",
            "-oAcquire::Retries=3",
        ]);
        for (option, name) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
            ("Dir::Etc::preferencesparts", "none"),
            ("Dir::State", ""),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", ""),
            ("Dir::Cache::archives", "archives"),
            ("Dir::Log", "log"),
        ] {
            command.arg(format!("-o{option}={}", self.apt(name).display()));
        }
        command
    }
}

/// Where packages of different times put a kernel.
fn locate(directory: &Path, release: &str) -> Result<Kernel> {
    let modules = [
        format!("usr/lib/modules/{release}"),
        format!("lib/modules/{release}"),
    ];
    let modules = first(directory, &modules).context("the package has no modules")?;
    let images = [
        format!("boot/vmlinuz-{release}"),
        format!("usr/lib/modules/{release}/vmlinuz"),
        format!("lib/modules/{release}/vmlinuz"),
    ];
    Ok(Kernel {
        release: release.to_owned(),
        image: first(directory, &images).context("the package has no image")?,
        modules,
    })
}

fn first(directory: &Path, names: &[String]) -> Option<PathBuf> {
    names
        .iter()
        .map(|name| directory.join(name))
        .find(|path| is_there(path))
}

/// Names and contents of the machine's sources files.
fn source_files() -> Result<Vec<(String, String)>> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    paths.extend(entries(Path::new("/etc/apt/sources.list.d")).unwrap_or_default());
    let files: Vec<_> = paths
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            Some((path.to_string_lossy().into_owned(), text))
        })
        .collect();
    ensure!(!files.is_empty(), "this machine has no apt sources");
    Ok(files)
}

/// Runs a command whose output matters only when it fails.
pub(super) fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        bail!("{program} ended with {}\n{stdout}{stderr}", output.status);
    }
    Ok(())
}

/// What is in a directory, in the order of names.
#[expect(
    clippy::disallowed_methods,
    reason = "directories of apt and of target/"
)]
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot list {}", directory.display()))?
        .map(|entry| Ok(entry?.path()));
    let mut paths: Vec<_> = entries.collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

#[expect(
    clippy::disallowed_methods,
    reason = "xtask is no part of the observer"
)]
pub(super) fn is_there(path: &Path) -> bool {
    path.exists()
}
