//! The file system itself: each request is judged by the rules, then answered, or not.

use std::{ffi::OsStr, io, sync::Arc, thread, time::Duration};

use fuser::{
    AccessFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, WriteFlags,
};

use super::{
    Op, Rules,
    rules::Verdict,
    tree::{self, DIRECTORY, FILE_BYTES},
};

/// The file system.
#[derive(Debug)]
pub struct FaultFs {
    rules: Arc<Rules>,
    /// How long the kernel may believe names and attributes.
    ttl: Duration,
}

/// The kinds of replies that can also be refusals.
trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyData,
    ReplyDirectory,
    ReplyEmpty,
    ReplyEntry,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite
);

impl FaultFs {
    /// A file system that obeys these rules.
    pub fn new(rules: Arc<Rules>, ttl: Duration) -> Self {
        Self { rules, ttl }
    }

    /// Does with one request what its rule says.
    fn serve<R: Refuse>(&self, op: Op, reply: R, answer: impl FnOnce(R) + Send + 'static) {
        match self.rules.judge(op) {
            Verdict::Answer => answer(reply),
            Verdict::Delay(delay) => {
                thread::spawn(move || {
                    pause(delay);
                    answer(reply);
                });
            }
            Verdict::Hold => self.rules.hold(Box::new(move || answer(reply))),
            // A reply that is dropped is answered EIO by fuser; one that is forgotten is lost.
            Verdict::Lose => std::mem::forget(reply),
            Verdict::Fail(errno) => reply.refuse(Errno::from_i32(errno)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the delay is the fault")]
fn pause(delay: Duration) {
    thread::sleep(delay);
}

impl Filesystem for FaultFs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without the first two the kernel keeps locks to itself and never sends SETLK; without the
        // third one lookup at a time is sent per directory.
        let wanted = InitFlags::FUSE_POSIX_LOCKS
            | InitFlags::FUSE_FLOCK_LOCKS
            | InitFlags::FUSE_PARALLEL_DIROPS;
        config
            .add_capabilities(wanted)
            .map_err(|missing| io::Error::other(format!("the kernel lacks {missing:?}")))
    }

    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = tree::lookup(name);
        let ttl = self.ttl;
        self.serve(Op::Lookup, reply, move |reply| match found {
            Some(ino) => reply.entry(&ttl, &tree::attributes(ino), Generation(0)),
            None => reply.error(Errno::ENOENT),
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let ttl = self.ttl;
        self.serve(Op::Getattr, reply, move |reply| {
            reply.attr(&ttl, &tree::attributes(ino));
        });
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Without the page cache each read and write is one request.
        self.serve(Op::Open, reply, |reply| {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = FILE_BYTES.saturating_sub(offset).min(u64::from(size));
        self.serve(Op::Read, reply, move |reply| {
            reply.data(&vec![b'x'; usize::try_from(left).unwrap_or(0)]);
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.serve(Op::Write, reply, move |reply| reply.written(size));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.serve(Op::Flush, reply, ReplyEmpty::ok);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.serve(Op::Fsync, reply, ReplyEmpty::ok);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(Op::Release, reply, ReplyEmpty::ok);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.serve(Op::Opendir, reply, |reply| {
            reply.opened(FileHandle(0), FopenFlags::empty());
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.serve(Op::Releasedir, reply, ReplyEmpty::ok);
    }

    /// Answered, unlike fuser's own ENOSYS: the kernel would never ask again.
    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        self.serve(Op::Access, reply, ReplyEmpty::ok);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.serve(Op::Readdir, reply, move |mut reply| {
            let entries = [
                (ino, FileType::Directory, "."),
                (INodeNo::ROOT, FileType::Directory, ".."),
                (DIRECTORY, FileType::Directory, "directory"),
            ];
            for (next, (ino, kind, name)) in (1..).zip(entries) {
                if next > offset && reply.add(ino, next, kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.serve(Op::Statfs, reply, |reply| {
            reply.statfs(1000, 500, 500, 1000, 500, 4096, 255, 4096);
        });
    }

    fn setlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let op = if sleep { Op::Setlkw } else { Op::Setlk };
        self.serve(op, reply, ReplyEmpty::ok);
    }
}
