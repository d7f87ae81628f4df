//! What the programs look up: the settings and the path syscalls.

use aya::maps::Array;
use mount_observer_common::{PathArguments, Settings};

use crate::daemon::{
    maps::{self, Created, MapsError},
    syscalls,
};

pub(super) fn set_settings(created: &mut Created, settings: Settings) -> Result<(), MapsError> {
    let map = created.get_mut("SETTINGS")?;
    let mut array: Array<_, Settings> = maps::typed("SETTINGS", Array::try_from(map))?;
    maps::typed("SETTINGS", array.set(0, settings, 0))
}

/// Where the paths are in each path syscall, and that those of the stat family are counted in their
/// function where they are.
pub(super) fn set_syscalls(created: &mut Created, is_stat_counted: bool) -> Result<(), MapsError> {
    let map = created.get_mut("SYSCALL_OPS")?;
    let mut array: Array<_, PathArguments> = maps::typed("SYSCALL_OPS", Array::try_from(map))?;
    for (number, mut arguments) in syscalls::path_arguments() {
        // fstat always is.
        arguments.is_by_function |= u16::from(is_stat_counted && syscalls::is_stat(number));
        maps::typed("SYSCALL_OPS", array.set(number, arguments, 0))?;
    }
    Ok(())
}
