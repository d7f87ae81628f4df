//! The identity of a mounted filesystem instance.

use std::fmt;

use serde::{Serialize, Serializer};

/// `s_dev` of a superblock as the kernel encodes it (`MKDEV`, `include/linux/kdev_t.h`): 12 bits of
/// major, 20 bits of minor. Displayed as mountinfo shows it, `0:52`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dev(pub u32);

impl Dev {
    /// From the two numbers of mountinfo's third field; `None` when one is out of range.
    pub fn from_parts(major: u32, minor: u32) -> Option<Self> {
        (major < 1 << 12 && minor < 1 << 20).then_some(Self(major << 20 | minor))
    }

    /// Major number; 0 for filesystems without a block device.
    pub fn major(self) -> u32 {
        self.0 >> 20
    }

    /// Minor number.
    pub fn minor(self) -> u32 {
        self.0 & 0xf_ffff
    }
}

impl fmt::Display for Dev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major(), self.minor())
    }
}

/// One superblock over its whole life.
///
/// Anonymous device numbers are given to the next mount at once (`get_anon_bdev`, `fs/super.c`), so
/// the number alone does not identify: `epoch` counts the superblocks seen under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SuperblockId {
    /// The device number.
    pub dev: Dev,
    /// 0 for the first superblock seen under `dev`, then 1, ...
    pub epoch: u32,
}

impl fmt::Display for SuperblockId {
    /// `0:52`, and `0:52#1` for the second superblock seen under that number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch == 0 {
            self.dev.fmt(f)
        } else {
            write!(f, "{}#{}", self.dev, self.epoch)
        }
    }
}

impl Serialize for Dev {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SuperblockId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
