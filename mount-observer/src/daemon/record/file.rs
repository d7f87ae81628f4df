//! The file of `--record`: opened at the start, before privileges are given up, and never by its path
//! again.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::place;
use crate::{config::Config, daemon::mountinfo, incident::IncidentId, recording::Piece};

/// What `--record` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// The file.
    pub path: PathBuf,
    /// Its bound, bytes.
    pub bytes_max: u64,
    /// Whether it may replace one that is there.
    pub may_overwrite: bool,
}

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Writing to it could hang on what is watched.
    #[error(
        "{path} lies on {mount_point} ({fstype}), which is observed and may hang: record to a local disk, or \
         take that mount out of [scope]"
    )]
    Observed {
        /// What was asked for.
        path: PathBuf,
        /// The mount it lies on.
        mount_point: String,
        /// Its type.
        fstype: String,
    },
    /// There is one already.
    #[error("{0} is there already: name another file, or add --record.overwrite")]
    Exists(PathBuf),
    /// It is a directory, a pipe, a device.
    #[error("{0} is no regular file")]
    NotRegular(PathBuf),
    /// More moments are waited for than there is room for.
    #[error("there is no recording of {0}: too much happens at once")]
    TooMany(IncidentId),
    /// What is remembered cannot be written in the form of a recording.
    #[error("what is to be written to {0} is too long for a recording")]
    Unpacked(PathBuf),
    /// The system says so.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The file.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: File,
    bytes_max: u64,
    /// Where it ends.
    end: u64,
    /// Whether it was made for this and holds nothing yet: a start that fails leaves none behind.
    is_unused: bool,
    /// Whether what was there before is still to go.
    is_stale: bool,
}

impl Drop for RecordFile {
    fn drop(&mut self) {
        if self.is_unused {
            // Nobody to tell: the start failed for a reason of its own.
            fs::remove_file(&self.path).ok();
        }
    }
}

impl RecordFile {
    /// Makes it, readable for its owner alone: a recording names processes and paths. It must lie on a
    /// mount that none of the configurations observes. What was there goes with the first that is
    /// written.
    pub fn create(options: &RecordOptions, configs: &[&Config]) -> Result<Self, RecordError> {
        let mut path = options.path.clone();
        for config in configs {
            path = place::resolve(&options.path, config, mountinfo::read_own())?;
        }
        let failed = |source: io::Error| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                return RecordError::Exists(options.path.clone());
            }
            RecordError::File {
                what: "make",
                path: options.path.clone(),
                source,
            }
        };
        // Neither a link is followed nor a pipe waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut open = OpenOptions::new();
        open.write(true).mode(0o600);
        open.custom_flags(flags.bits().cast_signed());
        let mut is_new = true;
        let mut opened = open.create_new(true).open(&path);
        if let Err(error) = &opened
            && error.kind() == io::ErrorKind::AlreadyExists
            && options.may_overwrite
        {
            is_new = false;
            opened = open.create_new(false).open(&path);
        }
        let file = opened.map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(RecordError::NotRegular(options.path.clone()));
        }
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(failed)?;
        Ok(Self {
            path,
            file,
            bytes_max: options.bytes_max,
            end: 0,
            is_unused: is_new,
            is_stale: !is_new,
        })
    }

    /// Where it is, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bound, bytes.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Bytes of it.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Writes a piece. What could be written of one at the end of the file is taken back where not all
    /// could: the file then ends with a whole frame.
    pub(super) fn write(&mut self, piece: &Piece) -> io::Result<()> {
        if std::mem::take(&mut self.is_stale) {
            self.file.set_len(0)?;
        }
        self.is_unused = false;
        let end = piece.offset + u64::try_from(piece.bytes.len()).unwrap_or(u64::MAX);
        let written = self.file.write_all_at(&piece.bytes, piece.offset);
        if written.is_ok() {
            self.end = self.end.max(end);
        } else if piece.offset >= self.end {
            self.file.set_len(self.end)?;
        }
        written
    }

    /// Has it reach the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
