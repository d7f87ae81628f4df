//! What we want to see, and the ways a program gets to run for it.

/// One thing we want to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// A FUSE request is sent.
    FuseSend,
    /// A FUSE request ends.
    FuseEnd,
    /// Somebody asks FUSE for something and will wait for the answer.
    FuseCall,
    /// That somebody goes on, with an answer or without a request ever having been made.
    FuseReturn,
    /// A FUSE request that nobody waits for is refused.
    FuseBackground,
    /// A FUSE connection is aborted.
    ConnectionAbort,
    /// A descriptor of `/dev/fuse` is closed.
    DeviceRelease,
    /// A known FUSE server exits.
    ServerExit,
    /// Who holds `/dev/fuse`, and what is queued there.
    Holders,
    /// Who is blocked.
    Tasks,
    /// Which files are open for writing.
    Files,
    /// The state of one connection.
    ConnectionCheck,
    /// A stat by path starts.
    StatEnter,
    /// A stat by path ends.
    StatExit,
    /// A path walk ends, and where it failed.
    WalkEnd,
    /// A file system is asked for a file's attributes.
    AttrEnter,
    /// It answered.
    AttrExit,
    /// An NFS operation ends.
    NfsEnd,
    /// Which superblock each NFS client belongs to.
    NfsMounts,
    /// Path syscalls start.
    PathEnter,
    /// Path syscalls end.
    PathExit,
    /// Something is written where a mount is missing.
    ShadowWrites,
}

impl Probe {
    /// Every probe, in the order they are attached: what reports before what starts something.
    pub const ALL: [Self; 22] = [
        Self::ConnectionCheck,
        Self::Holders,
        Self::Tasks,
        Self::Files,
        Self::FuseEnd,
        Self::FuseSend,
        Self::FuseReturn,
        Self::FuseBackground,
        Self::FuseCall,
        Self::ConnectionAbort,
        Self::DeviceRelease,
        Self::ServerExit,
        Self::NfsMounts,
        Self::NfsEnd,
        Self::PathExit,
        Self::StatExit,
        Self::AttrExit,
        Self::AttrEnter,
        Self::WalkEnd,
        Self::StatEnter,
        Self::PathEnter,
        Self::ShadowWrites,
    ];

    /// The name metrics and `check` show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FuseSend => "fuse_send",
            Self::FuseEnd => "fuse_end",
            Self::FuseCall => "fuse_call",
            Self::FuseReturn => "fuse_return",
            Self::FuseBackground => "fuse_background",
            Self::ConnectionAbort => "connection_abort",
            Self::DeviceRelease => "device_release",
            Self::ServerExit => "server_exit",
            Self::Holders => "holders",
            Self::Tasks => "tasks",
            Self::Files => "files",
            Self::ConnectionCheck => "connection_check",
            Self::StatEnter => "stat_enter",
            Self::StatExit => "stat_exit",
            Self::WalkEnd => "walk_end",
            Self::AttrEnter => "attr_enter",
            Self::AttrExit => "attr_exit",
            Self::NfsEnd => "nfs_end",
            Self::NfsMounts => "nfs_mounts",
            Self::PathEnter => "path_enter",
            Self::PathExit => "path_exit",
            Self::ShadowWrites => "shadow_writes",
        }
    }

    /// Whether it looks at FUSE itself: without FUSE there is nothing to see, and where FUSE is a
    /// module it comes and goes with it.
    pub const fn is_fuse(self) -> bool {
        match self {
            Self::FuseSend
            | Self::FuseEnd
            | Self::FuseCall
            | Self::FuseReturn
            | Self::FuseBackground
            | Self::ConnectionAbort
            | Self::DeviceRelease
            | Self::Holders
            | Self::ConnectionCheck => true,
            Self::ServerExit
            | Self::Tasks
            | Self::Files
            | Self::StatEnter
            | Self::StatExit
            | Self::WalkEnd
            | Self::AttrEnter
            | Self::AttrExit
            | Self::NfsEnd
            | Self::NfsMounts
            | Self::PathEnter
            | Self::PathExit
            | Self::ShadowWrites => false,
        }
    }

    /// Whether it looks at NFS, which comes with its first mount, and goes.
    pub const fn is_nfs(self) -> bool {
        matches!(self, Self::NfsEnd | Self::NfsMounts)
    }
}

/// How a program gets to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// A tracepoint with typed arguments; needs the BTF of what defines it in `vmlinux`.
    TpBtf,
    /// A tracepoint with untyped arguments; serves modules too.
    RawTracepoint,
    /// The entry of a function, through a trampoline, with typed arguments.
    FEntry,
    /// A function's exit, with its arguments and its result.
    FExit,
    /// The entry of a function, through a breakpoint. There is no counterpart for its exit on
    /// purpose: a kretprobe has few instances (`max(10, 2 * cpus)`, `kernel/kprobes.c`, 5.10 to
    /// 7.2), and the first blocked tasks take them all.
    KProbe,
    /// A BPF iterator.
    Iterator,
    /// Run by us, never attached.
    TestRun,
}

impl Mechanism {
    /// The name metrics and `check` show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::RawTracepoint => "raw_tp",
            Self::FEntry => "fentry",
            Self::FExit => "fexit",
            Self::KProbe => "kprobe",
            Self::Iterator => "iterator",
            Self::TestRun => "test_run",
        }
    }

    /// Whether it is put on a kernel function.
    pub const fn is_on_function(self) -> bool {
        matches!(self, Self::FEntry | Self::FExit | Self::KProbe)
    }
}
