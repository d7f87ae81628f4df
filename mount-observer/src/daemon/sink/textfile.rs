//! A file of metrics for node exporter's textfile collector, written beside and renamed.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{Failure, metrics::WriteMetrics, place::Place};

/// The collector reads every `*.prom`.
const FILE: &str = "mount-observer.prom";

/// The file in its directory.
#[derive(Debug)]
pub(super) struct Textfile {
    directory: PathBuf,
    file: String,
    place: Place,
}

impl Textfile {
    pub(super) fn new(directory: &str, place: Place) -> Self {
        Self {
            directory: directory.into(),
            file: FILE.to_owned(),
            place,
        }
    }

    /// The same of another name, for a rehearsal beside a daemon that runs.
    pub(super) fn for_drill(directory: &str, place: Place) -> Self {
        Self {
            file: "mount-observer-drill.prom".to_owned(),
            ..Self::new(directory, place)
        }
    }

    /// Takes the file away.
    pub(super) fn remove(&self) -> io::Result<()> {
        let directory = self.place.resolve(&self.directory)?;
        fs::remove_file(directory.join(&self.file))
    }

    fn replace(&self, metrics: &str) -> io::Result<()> {
        let directory = self.place.resolve(&self.directory)?;
        // Not `*.prom`: nobody reads half of it.
        let beside = directory.join(format!("{}.new", self.file));
        let written = write(&beside, metrics);
        let replaced = written.and_then(|()| fs::rename(&beside, directory.join(&self.file)));
        if replaced.is_err() {
            // Nothing else is left behind where the disk is full.
            fs::remove_file(&beside).ok();
        }
        replaced
    }
}

impl WriteMetrics for Textfile {
    fn write(&mut self, metrics: &str) -> Result<(), Failure> {
        self.replace(metrics).map_err(|error| {
            let directory = self.directory.display();
            Failure::Retry(format!("cannot write to {directory}: {error}"))
        })
    }
}

/// A new file that everybody may read, whatever the umask.
fn write(path: &Path, metrics: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let options = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .clone();
    let mut file = options.open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(metrics.as_bytes())
}
