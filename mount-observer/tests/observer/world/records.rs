//! What the programs of the model write to the ring.

use mount_observer::input::Input;
use mount_observer_common::{AbortCause, PATH_MAX_BYTES, PathRecord, Record};
use zerocopy::IntoBytes;

use super::{Process, World, readings::comm};

/// A path call that failed on a superblock which the kernel's own walk named.
pub(crate) struct Failed<'a> {
    pub(crate) dev: u32,
    pub(crate) op: u16,
    pub(crate) errno: u16,
    pub(crate) path: &'a str,
    /// The FUSE superblock asked last, 0 for none.
    pub(crate) cause: u32,
    pub(crate) caller: Process,
}

impl World {
    pub(crate) fn record(
        &self,
        kind: u32,
        op: u32,
        dev: u32,
        errno: u32,
        caller: &Process,
    ) -> Record {
        Record {
            kind,
            op,
            time_ns: self.now,
            latency_ns: 0,
            cgroup_id: 0,
            dev,
            errno,
            tgid: caller.pid,
            tid: caller.pid,
            suppressed: 0,
            mnt_ns: 1,
            comm: comm(&caller.comm),
        }
    }

    /// A failed path syscall that the kernel side could not attribute.
    pub(crate) fn lost_path(&mut self, op: u16, errno: u16, path: &str, caller: &Process) {
        self.count(0, op, errno, 1, None);
        let record = self.record(3, u32::from(op), 0, u32::from(errno), caller);
        let mut bytes = [0; PATH_MAX_BYTES];
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        let record = PathRecord {
            record,
            dfd: -100,
            cause_dev: 0,
            is_exact: 0,
            path_len: u32::try_from(path.len()).unwrap(),
            path: bytes,
        };
        self.feed(Input::Record(record.as_bytes().to_vec()));
    }

    /// A path call that the kernel side attributed.
    pub(crate) fn failed_path(&mut self, failed: &Failed<'_>) {
        let &Failed { dev, op, errno, .. } = failed;
        self.count(dev, op, errno, 1, None);
        let record = self.record(3, u32::from(op), dev, u32::from(errno), &failed.caller);
        let mut path = [0; PATH_MAX_BYTES];
        path[..failed.path.len()].copy_from_slice(failed.path.as_bytes());
        let record = PathRecord {
            record,
            dfd: -100,
            cause_dev: failed.cause,
            is_exact: 1,
            path_len: u32::try_from(failed.path.len()).unwrap(),
            path,
        };
        self.feed(Input::Record(record.as_bytes().to_vec()));
    }

    /// The function that aborts connections begins.
    pub(crate) fn record_abort(&mut self, dev: u32, cause: AbortCause, by: &Process) {
        let record = self.record(6, cause.to_wire(), dev, 0, by);
        self.feed(Input::Record(record.as_bytes().to_vec()));
    }

    /// A descriptor of a connection is closed for good.
    pub(crate) fn record_release(&mut self, dev: u32, by: &Process) {
        let record = self.record(7, 0, dev, 0, by);
        self.feed(Input::Record(record.as_bytes().to_vec()));
    }
}
