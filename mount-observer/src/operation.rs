//! Operations under the names users know: FUSE opcodes (`LOOKUP`) and path syscalls (`newfstatat`).

use std::fmt;

use mount_observer_common::{Op, WRITING_OPCODES};
use serde::{Serialize, Serializer};

use crate::errno::Errno;

/// An operation on a superblock. Displayed as the kernel names a FUSE opcode or an NFS procedure
/// (`LOOKUP`), or as the syscall's name in lower case (`statx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation(pub Op);

/// Operations whose latencies are worth comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Names, attributes, directories.
    Metadata,
    /// Content.
    Data,
    /// What waits until content is safe: may take as long as writing back all of it.
    Sync,
    /// What waits by design: for another process's lock, for an event, for the first handshake.
    Blocking,
    /// Path syscalls.
    Stat,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 5] = [
        Self::Metadata,
        Self::Data,
        Self::Sync,
        Self::Blocking,
        Self::Stat,
    ];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Data => "data",
            Self::Sync => "sync",
            Self::Blocking => "blocking",
            Self::Stat => "stat",
        }
    }
}

impl Operation {
    /// A FUSE request by its opcode.
    pub const fn fuse(opcode: u16) -> Self {
        Self(Op::Fuse(opcode))
    }

    /// An NFS operation by the kernel's name for it; `index` is where the programs keep that name.
    pub fn nfs(name: &str, index: u16) -> Self {
        let known = NFS_PROCEDURES.iter().position(|known| *known == name);
        let known = known.and_then(|number| u16::try_from(number).ok());
        Self(Op::Nfs(known.unwrap_or(NFS_UNKNOWN | index)))
    }

    /// Which latencies its own compare with.
    pub const fn class(self) -> Class {
        match self.0 {
            Op::Syscall(_) => Class::Stat,
            Op::Nfs(number) => nfs_class(number),
            // READ WRITE FALLOCATE LSEEK COPY_FILE_RANGE SETUPMAPPING REMOVEMAPPING
            // COPY_FILE_RANGE_64
            Op::Fuse(15 | 16 | 43 | 46 | 47 | 48 | 49 | 53) => Class::Data,
            // FSYNC FLUSH FSYNCDIR SYNCFS
            Op::Fuse(20 | 25 | 30 | 50) => Class::Sync,
            // INIT SETLKW IOCTL POLL CUSE_INIT
            Op::Fuse(26 | 33 | 39 | 40 | 4096) => Class::Blocking,
            Op::Fuse(_) => Class::Metadata,
        }
    }

    /// Whether it may wait for ever in a healthy filesystem: its age says nothing.
    pub fn is_blocking_by_design(self) -> bool {
        self.class() == Class::Blocking
    }

    /// Whether it is a FUSE request.
    pub const fn is_fuse(self) -> bool {
        matches!(self.0, Op::Fuse(_))
    }

    /// Whether it is a FUSE request that writes something.
    pub const fn writes(self) -> bool {
        match self.0 {
            Op::Fuse(opcode) => opcode < 64 && WRITING_OPCODES >> opcode & 1 != 0,
            Op::Nfs(_) | Op::Syscall(_) => false,
        }
    }

    /// Whether it is what a filesystem asks its server for, rather than what a program asks the
    /// filesystem for.
    pub const fn is_request(self) -> bool {
        matches!(self.0, Op::Fuse(_) | Op::Nfs(_))
    }

    /// Whether failing so says that a connection or a server is in trouble. An NFS server answers
    /// `ESTALE` to everybody who knew a file that somebody else removed: the client looks again, and
    /// only where that does not help either a system call fails with it.
    pub fn is_trouble(self, errno: Errno) -> bool {
        let is_routine = matches!(self.0, Op::Nfs(_)) && errno == Errno::ESTALE;
        errno.is_connection_class() && !is_routine
    }

    /// The operations of a name: FUSE and NFS share some.
    pub fn all_of_name(name: &str) -> Vec<Self> {
        let every = Self::every();
        every
            .filter(|operation| operation.to_string() == name)
            .collect()
    }

    /// The name of every operation that has one.
    pub fn names() -> impl Iterator<Item = String> {
        Self::every().map(|operation| operation.to_string())
    }

    fn every() -> impl Iterator<Item = Self> {
        let count = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        let fuse = FUSE_OPCODES.iter().map(|(opcode, _)| Op::Fuse(*opcode));
        let nfs = (0..count(NFS_PROCEDURES.len())).map(Op::Nfs);
        let syscalls = (1..=count(SYSCALLS.len())).map(Op::Syscall);
        fuse.chain(nfs).chain(syscalls).map(Self)
    }

    /// The operation of a name, as [`fmt::Display`] writes it; FUSE's where NFS has one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let fuse = FUSE_OPCODES.iter().find(|(_, known)| *known == name);
        let fuse = fuse.map(|(opcode, _)| Op::Fuse(*opcode));
        let nfs = || {
            let number = NFS_PROCEDURES.iter().position(|known| *known == name)?;
            u16::try_from(number).ok().map(Op::Nfs)
        };
        let syscall = || {
            let index = SYSCALLS.iter().position(|known| *known == name)?;
            u16::try_from(index + 1).ok().map(Op::Syscall)
        };
        fuse.or_else(nfs).or_else(syscall).map(Self)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Fuse(opcode) => {
                let known = FUSE_OPCODES.binary_search_by_key(&opcode, |(number, _)| *number);
                match known.ok().and_then(|index| FUSE_OPCODES.get(index)) {
                    Some((_, name)) => f.write_str(name),
                    None => write!(f, "FUSE_{opcode}"),
                }
            }
            Op::Nfs(number) => match NFS_PROCEDURES.get(usize::from(number)) {
                Some(name) => f.write_str(name),
                None => write!(f, "NFS_{}", number & !NFS_UNKNOWN),
            },
            Op::Syscall(number) => {
                let index = usize::from(number).checked_sub(1);
                match index.and_then(|index| SYSCALLS.get(index)) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "syscall_{number}"),
                }
            }
        }
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `enum fuse_opcode`, `include/uapi/linux/fuse.h`, v6.18; by number.
const FUSE_OPCODES: [(u16, &str); 52] = [
    (1, "LOOKUP"),
    (2, "FORGET"),
    (3, "GETATTR"),
    (4, "SETATTR"),
    (5, "READLINK"),
    (6, "SYMLINK"),
    (8, "MKNOD"),
    (9, "MKDIR"),
    (10, "UNLINK"),
    (11, "RMDIR"),
    (12, "RENAME"),
    (13, "LINK"),
    (14, "OPEN"),
    (15, "READ"),
    (16, "WRITE"),
    (17, "STATFS"),
    (18, "RELEASE"),
    (20, "FSYNC"),
    (21, "SETXATTR"),
    (22, "GETXATTR"),
    (23, "LISTXATTR"),
    (24, "REMOVEXATTR"),
    (25, "FLUSH"),
    (26, "INIT"),
    (27, "OPENDIR"),
    (28, "READDIR"),
    (29, "RELEASEDIR"),
    (30, "FSYNCDIR"),
    (31, "GETLK"),
    (32, "SETLK"),
    (33, "SETLKW"),
    (34, "ACCESS"),
    (35, "CREATE"),
    (36, "INTERRUPT"),
    (37, "BMAP"),
    (38, "DESTROY"),
    (39, "IOCTL"),
    (40, "POLL"),
    (41, "NOTIFY_REPLY"),
    (42, "BATCH_FORGET"),
    (43, "FALLOCATE"),
    (44, "READDIRPLUS"),
    (45, "RENAME2"),
    (46, "LSEEK"),
    (47, "COPY_FILE_RANGE"),
    (48, "SETUPMAPPING"),
    (49, "REMOVEMAPPING"),
    (50, "SYNCFS"),
    (51, "TMPFILE"),
    (52, "STATX"),
    (53, "COPY_FILE_RANGE_64"),
    (4096, "CUSE_INIT"),
];

/// Set in the number of an NFS procedure whose name is in no list.
const NFS_UNKNOWN: u16 = 0x1000;

/// The names of all procedures that NFS clients have called since 5.10, of versions 2, 3 and 4 and of
/// the ACL protocol (`fs/nfs/nfs{2,3,4}xdr.c`, v5.10 to v7.2). The place is our number: the kernel's own
/// differ from protocol to protocol, and in version 4 from release to release.
#[rustfmt::skip]
const NFS_PROCEDURES: [&str; 78] = [
    // Those that carry content, and those that wait until it is safe: see `nfs_class`.
    "READ", "WRITE", "READ_PLUS", "COPY", "CLONE", "SEEK", "ALLOCATE", "DEALLOCATE", "ZERO_RANGE",
    "COMMIT", "LAYOUTCOMMIT",
    "NULL", "GETATTR", "SETATTR", "LOOKUP", "ACCESS", "READLINK", "CREATE", "MKDIR", "SYMLINK",
    "MKNOD", "REMOVE", "RMDIR", "RENAME", "LINK", "READDIR", "READDIRPLUS", "FSSTAT", "FSINFO",
    "PATHCONF", "STATFS", "ROOT", "WRITECACHE", "GETACL", "SETACL",
    "OPEN", "OPEN_CONFIRM", "OPEN_NOATTR", "OPEN_DOWNGRADE", "CLOSE", "RENEW", "SETCLIENTID",
    "SETCLIENTID_CONFIRM", "LOCK", "LOCKT", "LOCKU", "LOOKUP_ROOT", "SERVER_CAPS", "DELEGRETURN",
    "FS_LOCATIONS", "RELEASE_LOCKOWNER", "SECINFO", "FSID_PRESENT", "EXCHANGE_ID",
    "CREATE_SESSION", "DESTROY_SESSION", "SEQUENCE", "GET_LEASE_TIME", "RECLAIM_COMPLETE",
    "LAYOUTGET", "LAYOUTRETURN", "GETDEVICEINFO", "GETDEVICELIST", "SECINFO_NO_NAME",
    "TEST_STATEID", "FREE_STATEID", "BIND_CONN_TO_SESSION", "DESTROY_CLIENTID", "LAYOUTSTATS",
    "OFFLOAD_CANCEL", "OFFLOAD_STATUS", "COPY_NOTIFY", "LOOKUPP", "LAYOUTERROR", "GETXATTR",
    "SETXATTR", "LISTXATTRS", "REMOVEXATTR",
];

/// Which latencies an NFS operation's own compare with, by its place in [`NFS_PROCEDURES`].
const fn nfs_class(number: u16) -> Class {
    match number {
        0..9 => Class::Data,
        9..11 => Class::Sync,
        _ => Class::Metadata,
    }
}

/// `mount_observer_common::SyscallOp`, from 1.
#[rustfmt::skip]
const SYSCALLS: [&str; 42] = [
    "stat", "lstat", "newfstatat", "statx", "open", "openat", "openat2", "access", "faccessat",
    "faccessat2", "readlink", "readlinkat", "statfs", "chdir", "mkdir", "mkdirat", "rmdir",
    "unlink", "unlinkat", "rename", "renameat", "renameat2", "getxattr", "lgetxattr", "listxattr",
    "llistxattr", "truncate", "creat", "chmod", "fchmodat", "fchmodat2", "chown", "lchown",
    "fchownat", "utimensat", "link", "linkat", "symlink", "symlinkat", "execve", "execveat", "fstat",
];

#[cfg(test)]
mod tests {
    use mount_observer_common::SyscallOp;

    use super::*;

    #[test]
    fn names_follow_the_wire_numbers() {
        let syscall = |op: SyscallOp| {
            let number = u16::try_from(SYSCALLS.len()).unwrap();
            let found = (1..=number).find(|&n| {
                Operation(Op::Syscall(n)).to_string() == format!("{op:?}").to_lowercase()
            });
            found.unwrap()
        };
        assert_eq!(syscall(SyscallOp::Stat), 1);
        assert_eq!(syscall(SyscallOp::Statfs), 13);
        assert_eq!(syscall(SyscallOp::Renameat2), 22);
        assert_eq!(syscall(SyscallOp::Execveat), 41);
    }

    #[test]
    fn every_name_leads_back_to_its_operation() {
        for (opcode, _) in FUSE_OPCODES {
            let operation = Operation::fuse(opcode);
            assert_eq!(
                Operation::from_name(&operation.to_string()),
                Some(operation)
            );
        }
        for number in 1..=41 {
            let operation = Operation(Op::Syscall(number));
            assert_eq!(
                Operation::from_name(&operation.to_string()),
                Some(operation)
            );
        }
        assert_eq!(Operation::from_name("NOSUCH"), None);
        assert_eq!(Operation::fuse(999).to_string(), "FUSE_999");
    }

    #[test]
    fn nfs_operations_go_by_the_kernels_names_whatever_their_numbers() {
        let getattr = Operation::nfs("GETATTR", 1);
        assert_eq!(getattr, Operation::nfs("GETATTR", 400));
        assert_eq!(getattr.to_string(), "GETATTR");
        assert_ne!(getattr, Operation::fuse(3));
        for name in ["READ", "CLONE"] {
            assert_eq!(Operation::nfs(name, 0).class(), Class::Data, "{name}");
        }
        for name in ["COMMIT", "LAYOUTCOMMIT"] {
            assert_eq!(Operation::nfs(name, 0).class(), Class::Sync, "{name}");
        }
        assert_eq!(Operation::nfs("NULL", 0).class(), Class::Metadata);
    }

    #[test]
    fn an_nfs_operation_that_nobody_knows_goes_by_its_number() {
        let unknown = Operation::nfs("FROBNICATE", 77);
        assert_eq!(unknown.to_string(), "NFS_77");
        assert_eq!(unknown.class(), Class::Metadata);
        assert_eq!(Op::from_wire(unknown.0.to_wire()), unknown.0);
        assert_eq!(
            Operation::from_name("OPEN_NOATTR").unwrap().to_string(),
            "OPEN_NOATTR"
        );
    }

    #[test]
    fn a_file_that_is_gone_at_the_nfs_server_is_no_trouble_with_the_server() {
        let getattr = Operation::nfs("GETATTR", 1);
        assert!(!getattr.is_trouble(Errno::ESTALE));
        assert!(getattr.is_trouble(Errno::EIO));
        assert!(Operation(Op::Syscall(1)).is_trouble(Errno::ESTALE));
    }

    #[test]
    fn the_opcode_table_is_sorted() {
        assert!(FUSE_OPCODES.is_sorted_by_key(|(opcode, _)| *opcode));
    }

    #[test]
    fn only_locks_events_and_handshakes_wait_by_design() {
        let blocking: Vec<_> = FUSE_OPCODES
            .iter()
            .filter(|(opcode, _)| Operation::fuse(*opcode).is_blocking_by_design())
            .map(|(_, name)| *name)
            .collect();
        assert_eq!(blocking, ["INIT", "SETLKW", "IOCTL", "POLL", "CUSE_INIT"]);
    }
}
