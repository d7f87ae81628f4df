//! What the programs look up: the settings, the path syscalls, the functions on kernel stacks.

use std::{io, os::fd::BorrowedFd};

use aya::{Ebpf, maps::Array};
use mount_observer_common::{CAUSE_RANGES_MAX, CauseRange, PathArguments, Settings};

use zerocopy::IntoBytes;

use crate::daemon::{
    bpf,
    maps::{self, MapsError},
    symbols::Symbols,
    syscalls,
};

pub(super) fn set_settings(ebpf: &mut Ebpf, settings: Settings) -> Result<(), MapsError> {
    let map = ebpf
        .map_mut("SETTINGS")
        .ok_or(MapsError::Missing("SETTINGS"))?;
    let mut array: Array<_, Settings> = maps::typed("SETTINGS", Array::try_from(map))?;
    maps::typed("SETTINGS", array.set(0, settings, 0))
}

/// The map of functions that tell why a connection is aborted.
pub(super) const CAUSES: &str = "CAUSE_RANGES";

/// Replaces what is in the map [`CAUSES`].
pub(super) fn write_causes(map: BorrowedFd<'_>, symbols: &Symbols) -> io::Result<()> {
    let known = symbols.cause_ranges().into_iter();
    let ranges = known.chain(std::iter::repeat(CauseRange::default()));
    for (index, mut range) in (0..CAUSE_RANGES_MAX).zip(ranges) {
        bpf::update(map, index, range.as_mut_bytes())?;
    }
    Ok(())
}

/// Where the paths are in each path syscall, and that those of the stat family are counted in their
/// function where they are.
pub(super) fn set_syscalls(ebpf: &mut Ebpf, is_stat_counted: bool) -> Result<(), MapsError> {
    let map = ebpf
        .map_mut("SYSCALL_OPS")
        .ok_or(MapsError::Missing("SYSCALL_OPS"))?;
    let mut array: Array<_, PathArguments> = maps::typed("SYSCALL_OPS", Array::try_from(map))?;
    for (number, mut arguments) in syscalls::path_arguments() {
        // fstat always is.
        arguments.is_by_function |= u16::from(is_stat_counted && syscalls::is_stat(number));
        maps::typed("SYSCALL_OPS", array.set(number, arguments, 0))?;
    }
    Ok(())
}
