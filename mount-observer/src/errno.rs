//! Error numbers: their names, and which of them say that a connection is in trouble.

use std::fmt;

use serde::{Serialize, Serializer};

/// A positive Linux error number (`include/uapi/asm-generic/errno{-base,}.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub u16);

impl Errno {
    pub const EIO: Self = Self(5);
    pub const ECONNABORTED: Self = Self(103);
    pub const ENOTCONN: Self = Self(107);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.0)
    }
}

impl Serialize for Errno {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
