//! Error numbers: their names, and which of them say that a connection is in trouble.

mod nfs;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A positive Linux error number (`include/uapi/asm-generic/errno{-base,}.h`). NFS operations also end
/// with numbers that the kernel keeps to itself, and with version 4's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub u16);

impl Errno {
    pub const EIO: Self = Self(5);
    pub const ECONNABORTED: Self = Self(103);
    pub const ENOTCONN: Self = Self(107);
    pub const ESTALE: Self = Self(116);

    /// Those a broken connection, a broken server or a broken network answers with.
    ///
    /// Left out although they can mean trouble, because healthy programs meet them every day: `EPIPE`
    /// (a reader left), `ENXIO` (a FIFO without a reader, `SEEK_DATA` past the end), `ENODEV` (a
    /// device node without a driver), `EINTR` (a killed caller), `EACCES` and `EPERM` (refused).
    pub const CONNECTION_CLASS: [Self; 16] = [
        Self::EIO,
        Self(67),  // ENOLINK
        Self(70),  // ECOMM
        Self(71),  // EPROTO
        Self(100), // ENETDOWN
        Self(101), // ENETUNREACH
        Self(102), // ENETRESET
        Self::ECONNABORTED,
        Self(104), // ECONNRESET
        Self::ENOTCONN,
        Self(108), // ESHUTDOWN
        Self(110), // ETIMEDOUT
        Self(111), // ECONNREFUSED
        Self(112), // EHOSTDOWN
        Self(113), // EHOSTUNREACH
        Self::ESTALE,
    ];

    /// Whether it says that a connection is in trouble; the others are counted and never alert.
    pub fn is_connection_class(self) -> bool {
        Self::CONNECTION_CLASS.contains(&self)
    }

    /// A list as a bit set: bit `n & 63` of word `n >> 6`, for numbers below 192; the others, which
    /// no kernel gives, have no bit.
    pub fn bit_set(list: &[Self]) -> [u64; 3] {
        let mut bits = [0; 3];
        for errno in list {
            if let Some(word) = bits.get_mut(usize::from(errno.0 >> 6)) {
                *word |= 1 << (errno.0 & 63);
            }
        }
        bits
    }

    /// Its name; `None` for a number nobody gives.
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .get(usize::from(self.0))
            .copied()
            .filter(|name| !name.is_empty())
            .or_else(|| nfs::name(self.0))
    }

    /// The error of a name, as [`fmt::Display`] writes it, or of a number.
    pub fn from_name(text: &str) -> Option<Self> {
        let number = text.strip_prefix("errno_").unwrap_or(text);
        let by_number = number.parse().ok().filter(|number| *number != 0).map(Self);
        by_number.or_else(|| Self::every().find(|errno| errno.name() == Some(text)))
    }

    /// Every name.
    pub fn names() -> impl Iterator<Item = String> {
        Self::every().filter_map(|errno| errno.name().map(str::to_owned))
    }

    /// Every number that may have a name.
    fn every() -> impl Iterator<Item = Self> {
        (1..=nfs::LAST).map(Self)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno_{}", self.0),
        }
    }
}

impl Serialize for Errno {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Errno {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_name(&text)
            .ok_or_else(|| de::Error::custom(format!("no error is called {text:?}")))
    }
}

/// By number; empty where there is none (41 and 58 are `EWOULDBLOCK` and `EDEADLOCK` of old).
#[rustfmt::skip]
const NAMES: [&str; 134] = [
    "", "EPERM", "ENOENT", "ESRCH", "EINTR", "EIO", "ENXIO", "E2BIG", "ENOEXEC", "EBADF", "ECHILD",
    "EAGAIN", "ENOMEM", "EACCES", "EFAULT", "ENOTBLK", "EBUSY", "EEXIST", "EXDEV", "ENODEV",
    "ENOTDIR", "EISDIR", "EINVAL", "ENFILE", "EMFILE", "ENOTTY", "ETXTBSY", "EFBIG", "ENOSPC",
    "ESPIPE", "EROFS", "EMLINK", "EPIPE", "EDOM", "ERANGE", "EDEADLK", "ENAMETOOLONG", "ENOLCK",
    "ENOSYS", "ENOTEMPTY", "ELOOP", "", "ENOMSG", "EIDRM", "ECHRNG", "EL2NSYNC", "EL3HLT",
    "EL3RST", "ELNRNG", "EUNATCH", "ENOCSI", "EL2HLT", "EBADE", "EBADR", "EXFULL", "ENOANO",
    "EBADRQC", "EBADSLT", "", "EBFONT", "ENOSTR", "ENODATA", "ETIME", "ENOSR", "ENONET", "ENOPKG",
    "EREMOTE", "ENOLINK", "EADV", "ESRMNT", "ECOMM", "EPROTO", "EMULTIHOP", "EDOTDOT", "EBADMSG",
    "EOVERFLOW", "ENOTUNIQ", "EBADFD", "EREMCHG", "ELIBACC", "ELIBBAD", "ELIBSCN", "ELIBMAX",
    "ELIBEXEC", "EILSEQ", "ERESTART", "ESTRPIPE", "EUSERS", "ENOTSOCK", "EDESTADDRREQ", "EMSGSIZE",
    "EPROTOTYPE", "ENOPROTOOPT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EOPNOTSUPP",
    "EPFNOSUPPORT", "EAFNOSUPPORT", "EADDRINUSE", "EADDRNOTAVAIL", "ENETDOWN", "ENETUNREACH",
    "ENETRESET", "ECONNABORTED", "ECONNRESET", "ENOBUFS", "EISCONN", "ENOTCONN", "ESHUTDOWN",
    "ETOOMANYREFS", "ETIMEDOUT", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "EALREADY",
    "EINPROGRESS", "ESTALE", "EUCLEAN", "ENOTNAM", "ENAVAIL", "EISNAM", "EREMOTEIO", "EDQUOT",
    "ENOMEDIUM", "EMEDIUMTYPE", "ECANCELED", "ENOKEY", "EKEYEXPIRED", "EKEYREVOKED",
    "EKEYREJECTED", "EOWNERDEAD", "ENOTRECOVERABLE", "ERFKILL", "EHWPOISON",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_slip() {
        let landmarks = [
            (1, "EPERM"),
            (11, "EAGAIN"),
            (40, "ELOOP"),
            (42, "ENOMSG"),
            (61, "ENODATA"),
            (67, "ENOLINK"),
            (71, "EPROTO"),
            (88, "ENOTSOCK"),
            (103, "ECONNABORTED"),
            (107, "ENOTCONN"),
            (110, "ETIMEDOUT"),
            (116, "ESTALE"),
            (133, "EHWPOISON"),
        ];
        for (number, name) in landmarks {
            assert_eq!(Errno(number).to_string(), name);
        }
        for number in [0, 41, 58, 134, 511, 10_000] {
            assert_eq!(Errno(number).to_string(), format!("errno_{number}"));
        }
    }

    #[test]
    fn the_bit_set_is_the_list() {
        let bits = Errno::bit_set(&Errno::CONNECTION_CLASS);
        for number in 0..192 {
            let is_set = bits[usize::from(number >> 6)] >> (number & 63) & 1 != 0;
            assert_eq!(is_set, Errno(number).is_connection_class(), "{number}");
        }
    }
}
