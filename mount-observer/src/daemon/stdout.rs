//! Whether anybody is left at standard output, learnt without writing to it.

use std::{io, os::fd::AsFd as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether the other end of a pipe was closed.
pub(super) fn is_reader_gone() -> bool {
    has(PollFlags::ERR)
}

/// Whether the terminal is gone. Its SIGHUP may be ignored, and reading it then ends at once, for ever.
pub(super) fn is_terminal_gone() -> bool {
    has(PollFlags::HUP)
}

fn has(state: PollFlags) -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty())];
    let at_once = Timespec::default();
    poll(&mut fds, Some(&at_once)).is_ok() && fds.iter().any(|fd| fd.revents().contains(state))
}
