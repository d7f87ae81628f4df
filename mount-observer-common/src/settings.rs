//! What the daemon tells the programs after load.

use crate::wire::wire;

/// The one element of the array `SETTINGS`. Unlike `.rodata` it can change while programs run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "decode",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct Settings {
    /// Operations that take at least this many ns leave a record; `u64::MAX` for none.
    pub slow_ns: u64,
    /// Nanoseconds of one jiffy, to tell a queued request's age; 0 when not known.
    pub tick_ns: u32,
    /// The observer's own process in the initial pid namespace: its requests are self touches.
    pub self_tgid: u32,
    /// Where a task's user registers lie, in bytes from `task.stack`; 0 when not known. Needed only
    /// where `bpf_task_pt_regs` (5.15) is missing.
    pub registers_offset: u32,
    /// Zero.
    pub pad: u32,
}
wire!(Settings, 24);

/// How much the `tasks` iterator looks at: the one element of the array `SCAN_MODE`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanMode {
    /// Known servers, and tasks that sleep inside a path walk or an open call: a few loads per task.
    Light = 0,
    /// Also unwinds every sleeping task's stack: about 1.3 us each.
    Full = 1,
}

impl ScanMode {
    /// The wire number.
    #[expect(
        clippy::as_conversions,
        reason = "the discriminant of a repr(u32) enum"
    )]
    pub const fn to_wire(self) -> u32 {
        self as u32
    }
}
