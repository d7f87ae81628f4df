//! What may be opened, by Landlock: everything else is refused, wherever it is mounted.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
};

/// The newest that the rules are written for; of an older kernel's, those are used that it has.
const WRITTEN_FOR: ABI = ABI::V6;

/// What is granted: a directory, with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct Grant {
    pub(super) path: PathBuf,
    is_written: bool,
    is_made: bool,
}

impl Grant {
    /// To read.
    pub(in crate::daemon) fn read(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            is_written: false,
            is_made: false,
        }
    }

    /// To read, write, make and remove.
    pub(in crate::daemon) fn write(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            is_written: true,
            is_made: true,
        }
    }

    /// The same where it is another's, who has to make it.
    pub(in crate::daemon) fn write_into(path: impl Into<PathBuf>) -> Self {
        Self {
            is_made: false,
            ..Self::write(path)
        }
    }

    /// Makes the directory that is to be written, for its owner alone: what does not exist cannot be
    /// granted.
    pub(super) fn make(&self) {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700);
        if self.is_made
            && let Err(error) = made.create(&self.path)
        {
            tracing::warn!(%error, path = ?self.path, "cannot make the directory");
        }
    }

    /// Never to execute.
    fn access(&self) -> BitFlags<AccessFs> {
        if self.is_written {
            AccessFs::from_all(WRITTEN_FOR) & !AccessFs::Execute
        } else {
            AccessFs::ReadFile | AccessFs::ReadDir
        }
    }
}

/// Confines this thread, and those it starts, to what is granted; a path that does not exist is left
/// out. Says by which version, or why not.
pub(super) fn restrict(grants: &[Grant]) -> Result<String, String> {
    let status = enforce(grants).map_err(|error| super::super::run::chain(&error))?;
    match status.landlock {
        LandlockStatus::NotEnabled => {
            Err("Landlock is not among the kernel's security modules (lsm=)".to_owned())
        }
        LandlockStatus::NotImplemented => Err("this kernel has no Landlock".to_owned()),
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => Ok(kernel_abi.map_or_else(|| format!("{effective_abi:?}"), |abi| format!("V{abi}"))),
    }
}

fn enforce(grants: &[Grant]) -> Result<RestrictionStatus, RulesetError> {
    let all = AccessFs::from_all(WRITTEN_FOR);
    let mut rules = Ruleset::default().handle_access(all)?.create()?;
    for grant in grants {
        match PathFd::new(&grant.path) {
            Ok(opened) => rules = rules.add_rule(PathBeneath::new(opened, grant.access()))?,
            Err(error) => tracing::debug!(%error, path = ?grant.path, "not granted"),
        }
    }
    rules.restrict_self()
}
