//! Which superblock a failed call was about.
//!
//! A failure happens after the path walk is forgotten. Where no probe watched the walk, its superblock
//! is told from what the caller passed: the mount point its path begins with, or the directory the path is relative to.
//! Symbolic links and `..` inside a path are not followed; the daemon labels the result.

use aya_ebpf::{helpers::generated::bpf_probe_read_user_str, maps::lpm_trie::Key};
use mount_observer_common::{AT_FDCWD, Counter, MATCHED_PATH_BYTES, MountPath};

use super::Call;
use crate::{
    counters::count,
    kernel::{
        OFF_DENTRY_SB, OFF_FS_PWD_DENTRY, OFF_SB_DEV, OFF_TASK_FS, Reader, field, file_dev, follow,
        with_current,
    },
    maps::{MOUNT_POINTS, PATH_KEY},
    memo::{self, View},
    scope::is_in_scope,
};

/// The superblock a path leads to, by the words of the caller; 0 when it cannot be told here.
#[inline(always)]
pub fn attribute(call: &Call) -> u32 {
    with_current!(|task: R| by_words::<R>(call, task))
}

#[inline(always)]
fn by_words<R: Reader>(call: &Call, task: *const u8) -> u32 {
    let Some(key) = PATH_KEY.get_ptr_mut(0) else {
        return 0;
    };
    let path = call.argument(call.arguments.path);
    let view = View::of::<R>(task);
    if let Some(view) = view
        && let Some(dev) = memo::recall(view, path)
    {
        return dev;
    }
    // SAFETY: a live map value; the helper writes at most the field.
    let read = unsafe {
        bpf_probe_read_user_str(
            (&raw mut (*key).data.path).cast(),
            MATCHED_PATH_BYTES as u32,
            path as *const _,
        )
    };
    if read <= 0 {
        count(Counter::UserReadsFailed);
        return 0;
    }
    // SAFETY: a live map value.
    let [first, second] = unsafe { [(*key).data.path[0], (*key).data.path[1]] };
    if first == b'/' {
        return view.map_or(0, |view| by_mount_point(view, key, read as u32));
    }
    // `..` may lead out of the directory's filesystem.
    if first == b'.' && second == b'.' {
        return 0;
    }
    let dfd = call.dfd();
    let dev = if dfd == AT_FDCWD {
        cwd_dev::<R>(task)
    } else {
        file_dev::<R>(task, dfd as u64)
    };
    // Outside the scope the path may still lead into it: the daemon has the record.
    if is_in_scope(dev) { dev } else { 0 }
}

/// The superblock on the longest mount point an absolute path begins with.
#[inline(always)]
fn by_mount_point(view: View, key: *mut Key<MountPath>, length: u32) -> u32 {
    let changes = memo::changes();
    // SAFETY: a live map value.
    let target = unsafe {
        (*key).data.mnt_ns = view.mnt_ns;
        (*key).data.root = view.root;
        (*key).prefix_len = (8 + length) * 8;
        MOUNT_POINTS.get(&*key).copied()
    };
    let Some(target) = target else { return 0 };
    memo::remember(changes, view, key, target);
    target.dev
}

/// `s_dev` of the working directory.
#[inline(always)]
fn cwd_dev<R: Reader>(task: *const u8) -> u32 {
    let fs = follow::<R>(task, &OFF_TASK_FS);
    if fs.is_null() {
        return 0;
    }
    let dentry = follow::<R>(fs, &OFF_FS_PWD_DENTRY);
    field::<R, u32>(follow::<R>(dentry, &OFF_DENTRY_SB), &OFF_SB_DEV)
}
