//! Kernel modules for a guest: which files, and what each needs loaded before it.
//!
//! Read from the modules themselves (`modinfo`), not from `modules.dep`: that is written when a
//! package is installed, and nothing is installed here.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// What the tests mount. Where a kernel has one built in there is no file, and none is needed.
const WANTED: [&str; 6] = ["fuse", "overlay", "nfs", "nfsv3", "nfsv4", "nfsd"];

/// One module, decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// As `/proc/modules` shows it: with underscores.
    pub(super) name: String,
    /// What must be loaded before it.
    depends: Vec<String>,
    /// Other names the kernel asks for it by (`fs-overlay`).
    aliases: Vec<String>,
    /// The ELF file.
    pub(super) object: Vec<u8>,
}

/// The wanted modules below this directory with all that they need.
pub(super) fn closure(directory: &Path) -> Result<Vec<Module>> {
    let files = files_below(directory)?;
    let mut found = BTreeMap::new();
    let mut wanted: Vec<String> = WANTED.map(str::to_owned).into();
    while let Some(name) = wanted.pop() {
        let Some(path) = files.get(&name).filter(|_| !found.contains_key(&name)) else {
            continue;
        };
        let module = read(&name, path)?;
        wanted.extend(module.depends.iter().cloned());
        found.insert(name, module);
    }
    Ok(found.into_values().collect())
}

/// The table the guest loads modules by: a line per module with its name, what it depends on and its
/// aliases, the fields separated by tabs and what is in them by commas.
pub(super) fn table(modules: &[Module]) -> String {
    let present: BTreeSet<_> = modules.iter().map(|module| module.name.as_str()).collect();
    modules.iter().fold(String::new(), |mut table, module| {
        let depends: Vec<_> = module
            .depends
            .iter()
            .map(String::as_str)
            .filter(|name| present.contains(name))
            .collect();
        table.push_str(&[&module.name, &*depends.join(","), &module.aliases.join(",")].join("\t"));
        table.push('\n');
        table
    })
}

/// Every module file, by name.
#[expect(clippy::disallowed_methods, reason = "unpacked packages in target/")]
fn files_below(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if let Some(name) = name_of(&path) {
                files.insert(name, path);
            }
        }
    }
    Ok(files)
}

/// `fuse` of `kernel/fs/fuse/fuse.ko.xz`.
fn name_of(path: &Path) -> Option<String> {
    let (name, suffix) = path.file_name()?.to_str()?.split_once(".ko")?;
    ["", ".xz", ".gz", ".zst"]
        .contains(&suffix)
        .then(|| name.replace('-', "_"))
}

fn read(name: &str, path: &Path) -> Result<Module> {
    let decompress = match path.extension().and_then(OsStr::to_str) {
        Some("ko") => None,
        Some("xz") => Some("xz"),
        Some("gz") => Some("gzip"),
        Some("zst") => Some("zstd"),
        _ => bail!("{}: an unknown compression", path.display()),
    };
    let object = match decompress {
        None => fs::read(path).with_context(|| format!("{}", path.display()))?,
        Some(program) => {
            let output = Command::new(program)
                .args(["--decompress", "--stdout"])
                .arg(path)
                .output()
                .with_context(|| format!("cannot run {program}"))?;
            ensure!(
                output.status.success(),
                "{program} {}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        }
    };
    let info = section(&object, ".modinfo").with_context(|| format!("{}", path.display()))?;
    let values = |key: &str| -> Vec<String> {
        modinfo(info, key)
            .flat_map(|value| value.split(',').map(|name| name.replace('-', "_")))
            .filter(|name| !name.is_empty())
            .collect()
    };
    Ok(Module {
        name: name.to_owned(),
        depends: values("depends"),
        aliases: values("alias"),
        object,
    })
}

/// The values of a key in a module's `.modinfo`: strings `key=value` that each end in NUL.
fn modinfo<'a>(info: &'a [u8], key: &'a str) -> impl Iterator<Item = &'a str> {
    info.split(|&byte| byte == 0)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}

/// A section of a 64-bit little-endian ELF file, by name (elf(5)).
fn section<'a>(elf: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(number(elf, 40, 8)?).ok()?;
    let size = usize::try_from(number(elf, 58, 2)?).ok()?;
    let count = usize::try_from(number(elf, 60, 2)?).ok()?;
    let names = usize::try_from(number(elf, 62, 2)?).ok()?;
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    let contents = |index: usize| -> Option<&'a [u8]> {
        let header = header(index)?;
        let start = usize::try_from(number(elf, header.checked_add(24)?, 8)?).ok()?;
        let length = usize::try_from(number(elf, header.checked_add(32)?, 8)?).ok()?;
        elf.get(start..start.checked_add(length)?)
    };
    let strings = contents(names)?;
    (0..count).find_map(|index| {
        let name = usize::try_from(number(elf, header(index)?, 4)?).ok()?;
        let name = strings.get(name..)?.split(|&byte| byte == 0).next()?;
        (name == wanted.as_bytes()).then(|| contents(index))?
    })
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| (value << 8) | u64::from(byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, depends: &[&str], aliases: &[&str]) -> Module {
        Module {
            name: name.to_owned(),
            depends: depends.iter().map(|&name| name.to_owned()).collect(),
            aliases: aliases.iter().map(|&name| name.to_owned()).collect(),
            object: Vec::new(),
        }
    }

    #[test]
    fn values_are_those_of_the_very_key() {
        let info = b"license=GPL\0alias=fs-nfs4\0depends=nfs,sunrpc\0alias=nfs4\0depends_x=1\0";
        let all = |key| modinfo(info, key).collect::<Vec<_>>();
        assert_eq!(all("alias"), ["fs-nfs4", "nfs4"]);
        assert_eq!(all("depends"), ["nfs,sunrpc"]);
        assert_eq!(all("missing"), Vec::<&str>::new());
    }

    #[test]
    fn a_dependency_that_is_built_in_is_not_in_the_table() {
        let modules = [
            module("nfs", &["sunrpc", "fscache"], &["fs-nfs"]),
            module("sunrpc", &[], &[]),
        ];
        assert_eq!(table(&modules), "nfs\tsunrpc\tfs-nfs\nsunrpc\t\t\n");
    }

    #[test]
    fn a_file_is_a_module_however_it_is_compressed() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("/k/nfs-layout.ko").as_deref(), Some("nfs_layout"));
        assert_eq!(name("/k/fuse.ko.xz").as_deref(), Some("fuse"));
        assert_eq!(name("/k/modules.dep"), None);
        assert_eq!(name("/k/fuse.ko.debug"), None);
    }

    #[test]
    fn a_section_is_found_by_its_name_and_no_truncation_panics() {
        // Header (64 bytes), then the names, the section, and three section headers of 64 bytes.
        let names = b"\0.shstrtab\0.modinfo\0";
        let info = b"depends=a\0";
        let (names_at, info_at) = (64, 64 + names.len());
        let table = info_at + info.len();
        let mut elf = vec![0; 64];
        elf.splice(..6, *b"\x7fELF\x02\x01");
        elf.splice(40..48, u64::try_from(table).unwrap().to_le_bytes());
        elf.splice(58..64, [64, 0, 3, 0, 1, 0]);
        elf.extend_from_slice(names);
        elf.extend_from_slice(info);
        for (name, start, length) in [
            (0_u32, 0, 0),
            (1, names_at, names.len()),
            (11, info_at, info.len()),
        ] {
            let mut header = vec![0; 64];
            header.splice(..4, name.to_le_bytes());
            header.splice(24..32, u64::try_from(start).unwrap().to_le_bytes());
            header.splice(32..40, u64::try_from(length).unwrap().to_le_bytes());
            elf.extend(header);
        }
        assert_eq!(section(&elf, ".modinfo"), Some(&info[..]));
        assert_eq!(section(&elf, ".text"), None);
        for length in 0..elf.len() {
            assert_eq!(section(&elf[..length], ".modinfo").unwrap_or(info), info);
        }
    }
}
