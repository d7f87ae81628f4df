//! What tests need installed, and the Debian packages that bring it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::steps;

/// A program and where it may be.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Debian package.
    package: &'static str,
    /// Absolute paths, any of which will do.
    paths: &'static [&'static str],
}

/// Everything `tests/` runs besides cargo's own output.
pub(crate) const MOUNTS: [Tool; 7] = [
    Tool {
        package: "bindfs",
        paths: &["/usr/bin/bindfs", "/usr/local/bin/bindfs"],
    },
    Tool {
        package: "sshfs",
        paths: &["/usr/bin/sshfs", "/usr/local/bin/sshfs"],
    },
    Tool {
        package: "openssh-sftp-server",
        paths: &[
            "/usr/lib/openssh/sftp-server",
            "/usr/libexec/openssh/sftp-server",
        ],
    },
    Tool {
        package: "fuse3",
        paths: &["/usr/bin/fusermount3", "/bin/fusermount3"],
    },
    Tool {
        package: "strace",
        paths: &["/usr/bin/strace", "/usr/local/bin/strace"],
    },
    Tool {
        package: "bpftool",
        paths: &[
            "/usr/sbin/bpftool",
            "/sbin/bpftool",
            "/usr/local/sbin/bpftool",
        ],
    },
    Tool {
        package: "tmux",
        paths: &["/usr/bin/tmux", "/usr/local/bin/tmux"],
    },
];

/// What guests are made with and run in.
pub(crate) const GUESTS: [Tool; 2] = [
    Tool {
        package: "qemu-system-x86",
        paths: &[
            "/usr/bin/qemu-system-x86_64",
            "/usr/local/bin/qemu-system-x86_64",
        ],
    },
    Tool {
        package: "xz-utils",
        paths: &["/usr/bin/xz", "/bin/xz"],
    },
];

/// Whom the observer tells, in `tests/host/sinks`. Their packages would start them, now and at each boot:
/// they are unpacked below the target directory, and installed nowhere.
pub(crate) const RECEIVERS: [Tool; 5] = [
    // promtool, which judges the rules.
    PROMTOOL,
    Tool {
        package: "prometheus-alertmanager",
        paths: &["/usr/bin/prometheus-alertmanager"],
    },
    Tool {
        package: "prometheus-node-exporter",
        paths: &["/usr/bin/prometheus-node-exporter"],
    },
    Tool {
        package: "prometheus-pushgateway",
        paths: &["/usr/bin/prometheus-pushgateway"],
    },
    Tool {
        package: "rsyslog",
        paths: &["/usr/sbin/rsyslogd"],
    },
];

const PROMTOOL: Tool = Tool {
    package: "prometheus",
    paths: &["/usr/bin/promtool", "/usr/local/bin/promtool"],
};

/// What makes the root of a guest that systemd runs, and the package that is installed there.
pub(crate) const SYSTEM: [Tool; 3] = [
    Tool {
        package: "debootstrap",
        paths: &["/usr/sbin/debootstrap"],
    },
    Tool {
        package: "e2fsprogs",
        paths: &["/usr/sbin/mke2fs", "/sbin/mke2fs"],
    },
    Tool {
        package: "dpkg-dev",
        paths: &["/usr/bin/dpkg-shlibdeps"],
    },
];

/// Where they are unpacked (`tests/src/receivers.rs` looks there).
const UNPACKED: &str = "target/receivers";

/// Whether this is a Debian on which we are root.
pub(crate) fn may_install() -> bool {
    rustix::process::geteuid().is_root() && is_file("/usr/bin/apt-get")
}

/// Finds what is missing; installs it when asked to, else says what to install.
pub(crate) fn provide(tools: &[Tool], install: bool) -> Result<()> {
    let missing: Vec<_> = tools.iter().filter(|tool| !is_there(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    if !install {
        bail!(
            "missing: {0}; run `apt-get install {0}` as root, or run the tests as root",
            packages.join(" ")
        );
    }
    steps::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    steps::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(&packages),
    )?;
    let still: Vec<_> = missing
        .iter()
        .filter(|tool| !is_there(tool))
        .map(|tool| tool.package)
        .collect();
    if !still.is_empty() {
        bail!("installed, but not where expected: {}", still.join(" "));
    }
    Ok(())
}

/// Finds what is missing of these; fetches and unpacks it when asked to, else says what to install.
/// Without them their tests say that they are not here.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask is no part of the observer"
)]
pub(crate) fn unpack(tools: &[Tool], install: bool) -> Result<()> {
    let root = steps::workspace_root()?.join(UNPACKED);
    let is_unpacked = |tool: &&Tool| {
        let mut paths = tool.paths.iter();
        paths.any(|path| is_file(&format!("{}{path}", root.display())))
    };
    let missing = tools.iter().filter(|tool| !is_there(tool));
    let missing: Vec<_> = missing.filter(|tool| !is_unpacked(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    if !install {
        bail!("missing: {}; run the tests as root", packages.join(" "));
    }
    let archives = root.join("archives");
    std::fs::create_dir_all(archives.join("partial"))?;
    steps::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    steps::run(
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(["--download-only", "--reinstall"])
            .arg(format!(
                "--option=Dir::Cache::archives={}/",
                archives.display()
            ))
            .args(&packages),
    )?;
    for archive in std::fs::read_dir(&archives)? {
        let path = archive?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            steps::run(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&path)
                    .arg(&root),
            )?;
        }
    }
    if let Some(still) = missing.iter().find(|tool| !is_unpacked(tool)) {
        bail!("unpacked, but not where expected: {}", still.package);
    }
    Ok(())
}

/// Where promtool is: installed, or unpacked.
pub(crate) fn promtool() -> Result<PathBuf> {
    let root = steps::workspace_root()?.join(UNPACKED);
    let places = PROMTOOL.paths.iter();
    let places = places.flat_map(|path| [(*path).to_owned(), format!("{}{path}", root.display())]);
    let found = places.into_iter().find(|path| is_file(path));
    found.map(PathBuf::from).context("there is no promtool")
}

fn is_there(tool: &Tool) -> bool {
    tool.paths.iter().any(|path| is_file(path))
}

#[expect(
    clippy::disallowed_methods,
    reason = "xtask is no part of the observer"
)]
fn is_file(path: &str) -> bool {
    Path::new(path).is_file()
}
