//! The eBPF programs' own messages, for whoever debugs them. Off by default: the programs then contain
//! none.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};

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
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        EbpfLogger::init_with_logger(ebpf, ToTracing).map(Self)
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
