//! Writes the archive a kernel unpacks into its first root: "newc" cpio.
//!
//! Format: `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel's sources. A
//! kernel takes any number of archives one after the other, each padded to four bytes.

use anyhow::{Context, Result};

/// Type bits of a mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive being written.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    /// Hard links are those entries that share a number: each gets its own.
    inode: u32,
}

/// What goes into one header.
#[derive(Clone, Copy, Debug, Default)]
struct Entry<'a> {
    name: &'a str,
    mode: u32,
    data: &'a [u8],
    /// Major and minor number of a device.
    device: (u32, u32),
}

impl Archive {
    /// A directory that everybody may enter; those above it come before it.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(&Entry {
            name,
            mode: DIRECTORY | 0o755,
            ..Entry::default()
        })
    }

    /// A file with these permissions.
    pub(super) fn file(&mut self, name: &str, permissions: u32, data: &[u8]) -> Result<()> {
        self.entry(&Entry {
            name,
            mode: FILE | permissions,
            data,
            ..Entry::default()
        })
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(&Entry {
            name,
            mode: LINK | 0o777,
            data: target.as_bytes(),
            ..Entry::default()
        })
    }

    /// A character device.
    pub(super) fn character_device(&mut self, name: &str, device: (u32, u32)) -> Result<()> {
        self.entry(&Entry {
            name,
            mode: CHARACTER_DEVICE | 0o600,
            device,
            ..Entry::default()
        })
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(&Entry {
            name: TRAILER,
            ..Entry::default()
        })?;
        Ok(self.bytes)
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.inode += 1;
        let data = u32::try_from(entry.data.len())
            .with_context(|| format!("{} has 4 GiB or more", entry.name))?;
        let name = u32::try_from(entry.name.len() + 1).context("an endless name")?;
        let (major, minor) = entry.device;
        // Magic, then: inode, mode, uid, gid, links, time, size, device of the file (two numbers),
        // device it stands for (two), length of the name with its NUL, checksum (unused).
        let fields = [
            self.inode, entry.mode, 0, 0, 1, 0, data, 0, 0, major, minor, name, 0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(entry.name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(entry.data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_cpio_writes() {
        let mut archive = Archive::default();
        archive.directory("d").unwrap();
        archive.file("d/f", 0o755, b"hello").unwrap();
        archive.link("l", "d/f").unwrap();
        archive.character_device("c", (5, 1)).unwrap();
        let bytes = archive.finish().unwrap();
        let expected = "\
            0707010000000100\
            0041ed000000000000000000000001000000000000000000000000000000000000000000000000\
            0000000200000000d\0";
        let start: String = String::from_utf8_lossy(bytes.get(..112).unwrap()).into_owned();
        assert_eq!(start, expected);
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        // Name and contents each begin at a multiple of four.
        assert!(text.contains("d/f\0\0\0hello\0\0\0"), "{text}");
        assert!(text.contains("0000000500000001"), "the device: {text}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text}");
    }
}
