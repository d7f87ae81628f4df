//! Reads `/proc/PID/mountinfo`: bytes, not text.
//!
//! Format: `show_mountinfo`, `fs/proc_namespace.c`. Paths and sources need not be UTF-8, space, tab,
//! newline and backslash come as octal escapes, the source may be empty, and the number of optional
//! fields varies. A line that cannot be read is counted and skipped.

use crate::superblock::Dev;

/// Lines kept of one file; the kernel's own default limit is `fs.mount-max`, 100,000.
pub const LINES_MAX: usize = 100_000;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Mount id, unique while mounted.
    pub mount_id: u32,
    /// The mount it is mounted on.
    pub parent_id: u32,
    /// The superblock.
    pub dev: Dev,
    /// Root of the mount within the filesystem.
    pub root: Vec<u8>,
    /// Where it is mounted, relative to the root of the process the file was read of.
    pub mount_point: Vec<u8>,
    /// Options of the mount.
    pub options: Vec<u8>,
    /// Filesystem type with its subtype: `fuse.sshfs`.
    pub fstype: Vec<u8>,
    /// Source: a device, `host:/path`, a name, or nothing at all.
    pub source: Vec<u8>,
}

/// What one file said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Its mounts, in the file's order.
    pub lines: Vec<Line>,
    /// Lines that could not be read, or did not fit [`LINES_MAX`].
    pub bad_lines: u64,
    /// Whether the file ends within a line: what it does not show may well be mounted.
    pub is_cut: bool,
}

/// Reads a whole file. A last line without its newline was cut off and counts as bad.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed {
        is_cut: bytes.last().is_some_and(|&last| last != b'\n'),
        ..Parsed::default()
    };
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let read = line.strip_suffix(b"\n").and_then(parse_line);
        match read {
            Some(line) if parsed.lines.len() < LINES_MAX => parsed.lines.push(line),
            Some(_) | None => parsed.bad_lines += 1,
        }
    }
    parsed
}

/// `36 35 98:0 /root /mnt/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mount_id = number(fields.next()?)?;
    let parent_id = number(fields.next()?)?;
    let mut dev = fields.next()?.splitn(2, |&byte| byte == b':');
    let dev = Dev::from_parts(number(dev.next()?)?, number(dev.next()?)?)?;
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let options = unescape(fields.next()?);
    fields.find(|field| *field == b"-")?;
    let fstype = unescape(fields.next()?);
    let source = unescape(fields.next()?);
    // The superblock's options; nothing of ours, but a line without them was cut.
    fields.next()?;
    (!mount_point.is_empty() && !fstype.is_empty()).then_some(Line {
        mount_id,
        parent_id,
        dev,
        root,
        mount_point,
        options,
        fstype,
        source,
    })
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.first().is_some_and(u8::is_ascii_digit) {
        std::str::from_utf8(digits).ok()?.parse().ok()
    } else {
        None
    }
}

/// Undoes `seq_path` and `mangle`: `\ooo` is the byte of that octal number; a backslash that starts
/// no such escape stands for itself.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail
            .first_chunk::<3>()
            .filter(|_| first == b'\\')
            .and_then(|digits| octal(*digits));
        bytes.push(escape.unwrap_or(first));
        let length = if escape.is_some() { 3 } else { 0 };
        rest = tail.get(length..).unwrap_or_default();
    }
    bytes
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(line: &[u8]) -> Line {
        let parsed = parse(line);
        assert_eq!(parsed.bad_lines, 0);
        assert_eq!(parsed.lines.len(), 1);
        parsed.lines.into_iter().next().unwrap()
    }

    #[test]
    fn a_line_with_everything() {
        let line =
            only(b"36 35 0:52 / /mnt/a rw,noatime master:1 shared:2 - fuse.sshfs host:/x rw\n");
        assert_eq!(
            line,
            Line {
                mount_id: 36,
                parent_id: 35,
                dev: Dev(52),
                root: b"/".to_vec(),
                mount_point: b"/mnt/a".to_vec(),
                options: b"rw,noatime".to_vec(),
                fstype: b"fuse.sshfs".to_vec(),
                source: b"host:/x".to_vec(),
            }
        );
    }

    #[test]
    fn escapes_and_odd_bytes_and_an_empty_source() {
        let line = only(b"1 2 8:1 / /a\\040b\\011c\\012d\\134e\xff rw - fuse  rw\n");
        assert_eq!(line.mount_point, b"/a b\tc\nd\\e\xff");
        assert_eq!(line.source, b"");
        assert_eq!(line.dev, Dev(8 << 20 | 1));
    }

    #[test]
    fn what_looks_like_an_escape_but_is_none_stays() {
        assert_eq!(unescape(b"\\9\\08\\777\\04"), b"\\9\\08\\777\\04");
    }

    #[test]
    fn bad_lines_are_counted_and_the_others_kept() {
        let parsed = parse(
            b"1 2 0:1 / / rw - tmpfs none rw\n\
              \n\
              x 2 0:1 / / rw - tmpfs none rw\n\
              1 2 0:99999999 / / rw - tmpfs none rw\n\
              1 2 0:1 / / rw tmpfs none rw\n\
              1 2 0:1 / / rw - tmpfs none\n\
              2 1 0:2 / /b rw - tmpfs none rw\n\
              3 1 0:3 / /cut rw - tmp",
        );
        assert_eq!(parsed.lines.len(), 2);
        assert_eq!(parsed.bad_lines, 6);
        assert!(parsed.is_cut);
    }
}
