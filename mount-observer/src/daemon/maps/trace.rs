//! What a trace wants to see, as far as the programs check it.

use aya::maps::{Array, MapData};
use mount_observer_common::{COMM_BYTES, Op, TRACE_ERRNO_REST, TRACE_FUSE_REST, TraceFilter};

use super::{Created, MapsError, typed};
use crate::{
    errno::Errno,
    operation::Operation,
    time::nanos,
    trace::{FilterError, Options},
};

/// A filter as the programs check it: admits what the whole filter admits, and perhaps more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelFilter(TraceFilter);

impl KernelFilter {
    /// What a filter asks for that is about one operation alone; superblocks are the business of the
    /// scope. `cgroups` are the control groups that it names, `None` while they are not known.
    ///
    /// What has no room here, or is a pattern, is left to user space.
    pub fn of(options: &Options, cgroups: Option<&[u64]>) -> Result<Self, FilterError> {
        let filter = &options.filter;
        let mut kernel = TraceFilter::EVERYTHING;
        let operations = filter.operation_set()?;
        if !operations.is_empty() {
            only_operations(&mut kernel, operations.into_iter());
        }
        if !filter.errnos.is_empty() {
            only_errnos(&mut kernel, &filter.errnos);
        } else if filter.only_failed {
            kernel.errno = kernel.errno.map(|_| u64::MAX);
            clear_bit(&mut kernel.errno, 0);
        }
        kernel.min_latency_ns = filter.min_latency.map_or(0, nanos);
        kernel.has_pids = u32::from(fill(&mut kernel.pids, filter.pids.iter().copied()));
        let cgroups = cgroups.filter(|_| filter.asks_for_groups());
        let cgroups = cgroups.unwrap_or_default().iter().copied();
        kernel.has_cgroups = u32::from(fill(&mut kernel.cgroups, cgroups));
        let comms = filter.exact_comms().unwrap_or_default();
        // The kernel cuts a name anywhere, we cut ours between characters.
        if comms.iter().all(|comm| comm.is_ascii()) {
            let comms = comms.into_iter().map(comm_bytes);
            kernel.has_comms = u32::from(fill(&mut kernel.comms, comms));
        }
        kernel.unsampled_ns = nanos(options.blocked_after);
        if filter.is_sampled_in_kernel() {
            kernel.sample = filter.sample.get();
        }
        Ok(Self(kernel))
    }
}

/// Takes these values for the only ones, if there are any and there is room for all.
fn fill<T: Copy, const PLACES: usize>(
    places: &mut [T; PLACES],
    values: impl Iterator<Item = T>,
) -> bool {
    let values: Vec<T> = values.take(PLACES + 1).collect();
    if values.is_empty() || values.len() > PLACES {
        return false;
    }
    let both = places.iter_mut().zip(values);
    both.for_each(|(place, value)| *place = value);
    true
}

fn only_operations(kernel: &mut TraceFilter, operations: impl Iterator<Item = Operation>) {
    (kernel.fuse, kernel.syscalls, kernel.nfs) = ([0; 2], 0, 0);
    for Operation(op) in operations {
        match op {
            Op::Fuse(opcode) => set_bit(&mut kernel.fuse, u32::from(opcode).min(TRACE_FUSE_REST)),
            Op::Syscall(number) => kernel.syscalls |= 1_u64.wrapping_shl(u32::from(number)),
            // Its number in the programs is not known until it was met.
            Op::Nfs(_) => kernel.nfs = 1,
        }
    }
}

fn only_errnos(kernel: &mut TraceFilter, errnos: &[Errno]) {
    kernel.errno = [0; 3];
    for errno in errnos {
        set_bit(&mut kernel.errno, u32::from(errno.0).min(TRACE_ERRNO_REST));
    }
}

fn set_bit<const WORDS: usize>(words: &mut [u64; WORDS], bit: u32) {
    let word = usize::try_from(bit / 64).ok();
    if let Some(word) = word.and_then(|word| words.get_mut(word)) {
        *word |= 1 << (bit % 64);
    }
}

fn clear_bit<const WORDS: usize>(words: &mut [u64; WORDS], bit: u32) {
    let word = usize::try_from(bit / 64).ok();
    if let Some(word) = word.and_then(|word| words.get_mut(word)) {
        *word &= !(1 << (bit % 64));
    }
}

fn comm_bytes(comm: &str) -> [u8; COMM_BYTES] {
    let mut bytes = [0; COMM_BYTES];
    // The last one is a NUL.
    let both = bytes.iter_mut().take(COMM_BYTES - 1).zip(comm.bytes());
    both.for_each(|(to, from)| *to = from);
    bytes
}

/// `TRACE_FILTER`.
pub(in crate::daemon) struct TraceFilterMap(Array<MapData, TraceFilter>);

impl TraceFilterMap {
    const NAME: &'static str = "TRACE_FILTER";

    pub(in crate::daemon) fn take(created: &mut Created) -> Result<Self, MapsError> {
        let map = Array::try_from(created.take(Self::NAME)?);
        typed(Self::NAME, map).map(Self)
    }

    /// Programs that run meanwhile may see a part of the new and a part of the old.
    pub(in crate::daemon) fn set(&mut self, filter: &KernelFilter) -> Result<(), MapsError> {
        typed(Self::NAME, self.0.set(0, filter.0, 0))
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZero, time::Duration};

    use super::*;
    use crate::trace::Filter;

    fn options(filter: &Filter) -> Options {
        Options {
            filter: filter.clone(),
            ..Options::default()
        }
    }

    fn of(filter: &Filter) -> TraceFilter {
        KernelFilter::of(&options(filter), Some(&[9])).unwrap().0
    }

    /// But for what blocks, after a second.
    const EVERYTHING: TraceFilter = TraceFilter {
        unsampled_ns: 1_000_000_000,
        ..TraceFilter::EVERYTHING
    };

    #[test]
    fn nothing_asked_for_admits_everything() {
        assert_eq!(of(&Filter::default()), EVERYTHING);
    }

    #[test]
    fn operations_of_each_family_have_their_bits() {
        let filter = of(&Filter {
            operations: vec!["FLUSH".to_owned(), "statx".to_owned()],
            ..Filter::default()
        });
        assert_eq!(filter.fuse, [1 << 25, 0]);
        assert_eq!(filter.syscalls, 1 << 4);
        assert_eq!(filter.nfs, 0);
        let filter = of(&Filter {
            operations: vec!["CUSE_INIT".to_owned(), "LOOKUP".to_owned()],
            ..Filter::default()
        });
        assert_eq!(filter.fuse, [1 << 1, 1 << 63]);
        assert_eq!((filter.syscalls, filter.nfs), (0, 1), "NFS has a LOOKUP");
    }

    #[test]
    fn failures_are_all_but_success() {
        let filter = of(&Filter {
            only_failed: true,
            ..Filter::default()
        });
        assert_eq!(filter.errno, [u64::MAX - 1, u64::MAX, u64::MAX]);
        let filter = of(&Filter {
            only_failed: true,
            errnos: vec![Errno::EIO, Errno::ENOTCONN, Errno(512)],
            ..Filter::default()
        });
        assert_eq!(filter.errno, [1 << 5, 1 << (107 - 64), 1 << 63]);
    }

    #[test]
    fn what_has_no_room_or_is_a_pattern_is_left_to_user_space() {
        let filter = of(&Filter {
            pids: (1..=9).collect(),
            comms: vec!["a*".to_owned()],
            ..Filter::default()
        });
        assert_eq!(filter, EVERYTHING);
        let filter = of(&Filter {
            pids: vec![7],
            comms: vec!["a-name-longer-than-the-kernel-keeps".to_owned()],
            units: vec!["a.service".to_owned()],
            min_latency: Some(Duration::from_millis(3)),
            sample: NonZero::new(5).unwrap(),
            ..Filter::default()
        });
        assert_eq!((filter.has_pids, filter.pids[0]), (1, 7));
        assert_eq!(
            (filter.has_comms, &filter.comms[0]),
            (1, b"a-name-longer-t\0")
        );
        assert_eq!((filter.has_cgroups, filter.cgroups[0]), (1, 9));
        assert_eq!(filter.min_latency_ns, 3_000_000);
        assert_eq!(filter.sample, 1, "of groups, user space has the last word");
        let filter = of(&Filter {
            operations: vec!["READ".to_owned()],
            sample: NonZero::new(5).unwrap(),
            ..Filter::default()
        });
        assert_eq!(filter.sample, 1, "NFS has a READ");
        let filter = of(&Filter {
            only_failed: true,
            sample: NonZero::new(5).unwrap(),
            ..Filter::default()
        });
        assert_eq!(filter.sample, 5);
        let of_unit = options(&Filter {
            units: vec!["a.service".to_owned()],
            ..Filter::default()
        });
        let unknown = KernelFilter::of(&of_unit, None);
        assert_eq!(unknown.unwrap().0.has_cgroups, 0);
    }
}
