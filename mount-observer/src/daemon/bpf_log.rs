//! The eBPF programs' own messages, for whoever debugs them. Off by default: the programs then contain
//! none.

use std::os::fd::{AsFd, OwnedFd};

use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};

use super::bpf;
use crate::config::BpfLogLevel;

/// The level as the programs' frozen `AYA_LOG_LEVEL` wants it; 0 lets nothing through.
pub(super) fn level(level: BpfLogLevel) -> u8 {
    match level {
        BpfLogLevel::Off => 0,
        BpfLogLevel::Warn => 2,
        BpfLogLevel::Debug => 4,
    }
}

/// The reader's end of the messages. Lossy: what does not fit into 128 KiB between two reads is gone.
pub(super) struct BpfLog(EbpfLogger<ToTracing>);

impl BpfLog {
    /// Finds the messages by one of the programs that write some. Needs `CAP_SYS_ADMIN`, as opening
    /// anything of BPF by its number does.
    pub(super) fn of<'a>(
        programs: impl IntoIterator<Item = &'a OwnedFd>,
    ) -> Result<Self, aya_log::Error> {
        let mut found = Err(aya_log::Error::ProgramNotFound);
        for program in programs {
            let id = bpf::info_of(program.as_fd()).map_or(0, |info| info.id);
            found = EbpfLogger::init_from_id_with_logger(id, ToTracing).map(Self);
            if found.is_ok() {
                break;
            }
        }
        found
    }

    /// Logs what has come since the last call.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}

/// Hands a message on to the daemon's own log. The level was chosen when the programs were loaded.
struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let (program, message) = (record.target(), record.args());
        if record.level() <= Level::Warn {
            tracing::warn!(program, "{message}");
        } else {
            tracing::info!(program, "{message}");
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::as_conversions,
        reason = "the discriminant of a fieldless enum"
    )]
    fn the_levels_are_those_of_the_programs() {
        assert_eq!(level(BpfLogLevel::Off), 0);
        assert_eq!(level(BpfLogLevel::Warn), aya_log::Level::Warn as u8);
        assert_eq!(level(BpfLogLevel::Debug), aya_log::Level::Debug as u8);
    }
}
