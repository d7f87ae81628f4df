//! What the host reads: lines on the second serial line, each with the milliseconds since boot, a
//! word for its kind and the rest (`xtask/src/vm/report.rs`).

use std::{
    fs::{self, File},
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};

/// The kernel writes to the first.
const LINE: &str = "/dev/ttyS1";

/// The open line; clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Talk(Arc<Mutex<File>>);

impl Talk {
    /// Opens the line.
    pub(crate) fn open() -> Result<Self> {
        let line = File::options().write(true).open(LINE);
        Ok(Self(Arc::new(Mutex::new(line.context(LINE)?))))
    }

    /// Says something. A line that cannot be written is missed by the host, which then knows.
    pub(crate) fn say(&self, kind: &str, rest: &str) {
        let line = format!("{} {kind} {rest}\n", since_boot_ms());
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).ok();
    }
}

fn since_boot_ms() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let (seconds, hundredths) = uptime
        .split_ascii_whitespace()
        .next()
        .and_then(|now| now.split_once('.'))
        .unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    number(seconds) * 1000 + number(hundredths) * 10
}
