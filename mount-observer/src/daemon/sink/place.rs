//! Where the files of sinks may lie: never on a mount that is observed. Decided from the text of the
//! mount table, each time anew.
//!
//! Small files that the configuration names are read once, at start: before the observer confines
//! itself, and never again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::SinkError;
use crate::{
    daemon::{config_file::read_bytes, mountinfo, store::place},
    scope::Scope,
};

/// Judges paths by the scope of a configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Scope>);

#[cfg(test)]
impl Default for Place {
    fn default() -> Self {
        Self::new(Scope::new(&crate::config::Scope::default()).unwrap())
    }
}

impl Place {
    pub(super) fn new(scope: Scope) -> Self {
        Self(Arc::new(scope))
    }

    /// The path with every link on the way resolved; an error where it lies on an observed mount,
    /// which is not touched.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let table = mountinfo::read_own()?;
        let table = place::Table::new(&table.bytes, &self.0);
        place::resolve(path, &table).map_err(io::Error::other)
    }

    /// Reads a regular file of a sane size.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, SinkError> {
        let read = self.resolve(path.as_ref());
        let read = read.and_then(|path| read_bytes(&path));
        read.map_err(|source| SinkError::Read {
            path: path.to_owned(),
            source,
        })
    }

    /// The same as text.
    pub(super) fn read_text(&self, path: &str) -> Result<String, SinkError> {
        let text = String::from_utf8(self.read(path)?);
        text.map_err(|_error| SinkError::Content(path.to_owned(), "is no text"))
    }
}
