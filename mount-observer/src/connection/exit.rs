//! How a process ended.

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The raw wait status.
    pub status: u32,
    /// Whether the kernel had chosen it to free its memory.
    pub is_oom: bool,
}

impl Exit {
    /// As people say it: `exit 1`, `SIGKILL (out of memory)`.
    pub fn text(self) -> String {
        let text = status_text(self.status);
        if self.is_oom {
            format!("{text} (out of memory)")
        } else {
            text
        }
    }
}

/// A raw wait status as people say it: `exit 1`, `SIGKILL`, `signal 64`.
fn status_text(status: u32) -> String {
    const SIGNALS: [&str; 32] = [
        "",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let signal = status & 0x7f;
    if signal == 0 {
        return format!("exit {}", status >> 8 & 0xff);
    }
    let name = usize::try_from(signal).ok().and_then(|n| SIGNALS.get(n));
    name.map_or_else(|| format!("signal {signal}"), |name| (*name).to_owned())
}
