//! Where recordings may lie: never on a mount that is observed, decided from the text of the mount table.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::RecordError;
use crate::{
    config::Config,
    daemon::{
        mountinfo::Table,
        store::{StoreError, place},
    },
    scope::Scope,
};

/// A path with every link on the way to its directory resolved; its last step may be a link, and is not
/// followed.
pub(super) fn resolve(
    path: &Path,
    config: &Config,
    table: io::Result<Table>,
) -> Result<PathBuf, RecordError> {
    let failed = |source| RecordError::File {
        what: "find",
        path: path.to_owned(),
        source,
    };
    let table = table.map_err(failed)?;
    let scope = Scope::new(&config.scope).map_err(|error| failed(io::Error::other(error)))?;
    let table = place::Table::new(&table.bytes, &scope);
    let name = path.file_name();
    let name = name.ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let absolute = std::path::absolute(path).map_err(failed)?;
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    let directory = place::resolve(directory, &table).map_err(|error| {
        if let StoreError::Observed {
            mount_point,
            fstype,
            ..
        } = error
        {
            return RecordError::Observed {
                path: path.to_owned(),
                mount_point,
                fstype,
            };
        }
        failed(io::Error::other(error))
    })?;
    Ok(directory.join(name))
}
