//! `explain PATH`: which filesystem a path lies on, who serves it, who waits for it, and what to do. The
//! path itself is never looked up: the mount table says where it lies, the kernel's own lists the rest.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt as _};

use super::{
    look::look,
    mountinfo::OwnTable,
    openers::openers,
    run::{RunError, chain},
    store::{self, Filter, Reader, StoreError},
};
use crate::{
    config::Config,
    incident::Summary,
    mountinfo::Line,
    mounts::place_of,
    paths,
    render::explain::Explanation,
    scope::{Scope, ScopeError},
    snapshot::Superblock,
    text,
};

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The look failed.
    #[error(transparent)]
    Look(#[from] RunError),
    /// The configured scope.
    #[error("bad scope")]
    Scope(#[from] ScopeError),
    /// The path is relative, to nothing.
    #[error("cannot tell what the path is relative to: give an absolute one")]
    WorkingDirectory(#[source] io::Error),
    /// Longer than the kernel takes, or relative to a directory outside of this root.
    #[error("{0:?} is no path that the kernel would take")]
    Path(String),
    /// The mount table.
    #[error("cannot read the mount table")]
    Table(#[source] io::Error),
    /// No mount holds the path: this root is no mount point.
    #[error("no mount that is seen from here holds {0}")]
    NoMount(String),
}

/// Explains a path as the caller wrote it.
pub fn explain(config: &Config, path: &OsStr) -> Result<Explanation, ExplainError> {
    let path = absolute(path)?;
    let shown = text::escaped(&path);
    let table = OwnTable::open().and_then(|own| own.read());
    let table = table.map_err(ExplainError::Table)?.bytes;
    let place = place_of(&table, &path).ok_or_else(|| ExplainError::NoMount(shown.clone()))?;
    let dev = place.line.dev;
    let is_in_scope = Scope::new(&config.scope)?.contains(&place.line);
    let config = &observing(config, &place.line, is_in_scope);
    let snapshot = look(config)?;
    let found = |superblock: &&Superblock| superblock.id.dev == dev;
    let superblock = snapshot.superblocks.iter().find(found).cloned();
    let mounts = superblock.iter().flat_map(|superblock| &*superblock.mounts);
    let mount_ids = mounts.map(|mount| mount.mount_id).collect();
    let is_there = |path: &[u8]| place_of(&table, path).is_some_and(|place| place.line.dev == dev);
    let mut remarks = vec![
        "links in the path are not followed: it is not looked up, so that nobody is asked for it"
            .to_owned(),
    ];
    remarks.extend(snapshot.observer.degraded.iter().cloned());
    Ok(Explanation {
        path: shown,
        mount_point: text::escaped(&place.line.mount_point),
        in_filesystem: text::escaped(&place.in_filesystem),
        fstype: text::lossy(&place.line.fstype),
        source: text::lossy(&place.line.source),
        options: text::lossy(&place.line.options),
        dev,
        is_in_scope,
        openers: openers(&mount_ids, &is_there),
        last_incident: last_incident(config, superblock.as_ref(), &mut remarks),
        superblock,
        remarks,
    })
}

/// The working directory comes from the kernel's own cache (`getcwd(2)`): no filesystem is asked.
fn absolute(path: &OsStr) -> Result<Vec<u8>, ExplainError> {
    let start = if path.as_bytes().starts_with(b"/") {
        Vec::new()
    } else {
        let here = std::env::current_dir().map_err(ExplainError::WorkingDirectory)?;
        here.into_os_string().into_encoded_bytes()
    };
    let bad = || ExplainError::Path(path.to_string_lossy().into_owned());
    if path.is_empty() {
        return Err(bad());
    }
    paths::joined(b"/", &start, path.as_bytes()).ok_or_else(bad)
}

/// The configuration, with this mount observed whatever its type.
fn observing(config: &Config, line: &Line, is_in_scope: bool) -> Config {
    let mut config = config.clone();
    if !is_in_scope {
        let scope = &mut config.scope;
        scope.exclude_fstypes.clear();
        scope.exclude_mount_points.clear();
        scope.exclude_sources.clear();
        let fstype = text::lossy(&line.fstype);
        scope.include_fstypes.push(globset::escape(&fstype));
    }
    config
}

/// The latest incident at one of its mount points.
fn last_incident(
    config: &Config,
    superblock: Option<&Superblock>,
    remarks: &mut Vec<String>,
) -> Option<Summary> {
    let mounts = &superblock?.mounts;
    let latest = || match store::directory(config)? {
        Some(directory) => {
            let all = Reader::open(&directory)?.list(&Filter::default())?;
            let is_here = |summary: &Summary| {
                let mut mounts = mounts.iter();
                !summary.is_drill && mounts.any(|mount| mount.mount_point == summary.mount_point)
            };
            Ok(all.into_iter().find(is_here))
        }
        None => Ok(None),
    };
    latest().unwrap_or_else(|error| {
        remarks.push(if matches!(error, StoreError::Absent { .. }) {
            // No daemon has kept anything yet.
            "no journal: no earlier incident is known".to_owned()
        } else {
            format!("earlier incidents are not known: {}", chain(&error))
        });
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_absolute_without_looking_at_it() {
        let path = |text: &str| absolute(OsStr::new(text)).map(String::from_utf8);
        assert_eq!(path("/mnt/a/../b//c/.").unwrap().unwrap(), "/mnt/b/c");
        let here = std::env::current_dir().unwrap();
        let expected = here.join("x").display().to_string();
        assert_eq!(path("./x").unwrap().unwrap(), expected);
        assert!(matches!(path(""), Err(ExplainError::Path(_))));
        assert!(matches!(
            path(&"/x".repeat(3000)),
            Err(ExplainError::Path(_))
        ));
    }
}
