//! `--record`: what is said on the command line of every command that watches.

use std::path::PathBuf;

use clap::Args;
use mount_observer::{daemon::record::RecordOptions, recording::FILE_MIN_BYTES};

/// Units of a size, the longest first.
const UNITS: [(&str, u32); 7] = [
    ("GiB", 30),
    ("MiB", 20),
    ("KiB", 10),
    ("G", 30),
    ("M", 20),
    ("K", 10),
    ("B", 0),
];

#[derive(Args, Clone, Debug)]
pub(crate) struct RecordArgs {
    /// Record everything that is learnt into a new file, for `replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Size from which on the oldest is overwritten: the file holds the last of what was learnt
    #[arg(
        long = "record.max-size", value_name = "SIZE", default_value = "256MiB", requires = "record",
        value_parser = size
    )]
    max_size: u64,
    /// Replace a file that is there
    #[arg(long = "record.overwrite", requires = "record")]
    overwrite: bool,
}

impl RecordArgs {
    /// What is asked for; the path made absolute, because the working directory is left.
    pub(crate) fn options(&self) -> Result<Option<RecordOptions>, std::io::Error> {
        let Some(path) = &self.record else {
            return Ok(None);
        };
        Ok(Some(RecordOptions {
            path: std::path::absolute(path)?,
            bytes_max: self.max_size,
            may_overwrite: self.overwrite,
        }))
    }
}

/// `64MiB`, `1G`, `1048576`: multiples of 1024.
fn size(text: &str) -> Result<u64, String> {
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, shift) = match unit {
        Some((unit, shift)) => (text.trim_end_matches(unit), *shift),
        None => (text, 0),
    };
    let number: Option<u64> = digits.trim().parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    let bytes = bytes.ok_or("must be a size such as 64MiB or 1G")?;
    if bytes < FILE_MIN_BYTES {
        return Err("must be 1MiB or more".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("3 G"), Ok(3 << 30));
        assert_eq!(size("2097152"), Ok(2 << 20));
        assert_eq!(size("2048KiB"), Ok(2 << 20));
        for bad in [
            "",
            "MiB",
            "-1G",
            "1TiB",
            "1023KiB",
            "99999999999999999999",
            "18014398509481984G",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
