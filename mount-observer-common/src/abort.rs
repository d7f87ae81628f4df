//! Who ended a FUSE connection.

/// What led to `fuse_abort_conn` (7.2 and later: `fuse_chan_abort`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AbortCause {
    /// None of the known functions is on the kernel stack.
    Unknown = 0,
    /// The last descriptor of `/dev/fuse` was closed: `fuse_dev_release`.
    ServerExit,
    /// Somebody wrote to fusectl's `abort`: `fuse_conn_abort_write`.
    Fusectl,
    /// `umount -f`: `fuse_umount_begin`.
    ForcedUnmount,
    /// The kernel's own request timeout (6.15): `fuse_check_timeout`.
    Timeout,
    /// The last unmount, as it should be: `fuse_conn_destroy`, `fuse_kill_sb_anon` and the like.
    Unmount,
}

impl AbortCause {
    /// Every cause, in the order of its wire number.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::ServerExit,
        Self::Fusectl,
        Self::ForcedUnmount,
        Self::Timeout,
        Self::Unmount,
    ];

    /// The wire number.
    #[expect(
        clippy::as_conversions,
        reason = "the discriminant of a repr(u32) enum"
    )]
    pub const fn to_wire(self) -> u32 {
        self as u32
    }

    /// The cause a wire number stands for; unknown for a number that stands for none.
    pub const fn from_wire(cause: u32) -> Self {
        match cause {
            1 => Self::ServerExit,
            2 => Self::Fusectl,
            3 => Self::ForcedUnmount,
            4 => Self::Timeout,
            5 => Self::Unmount,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_survives_the_wire() {
        for cause in AbortCause::ALL {
            assert_eq!(AbortCause::from_wire(cause.to_wire()), cause);
        }
        assert_eq!(AbortCause::from_wire(99), AbortCause::Unknown);
    }
}
