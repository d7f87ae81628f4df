//! The kernel functions in which tasks wait for a filesystem, and where their text lies.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
};

use mount_observer_common::{AbortCause, TEXT_RANGES_MAX, TextRange};

use crate::input::WaitFunction;

/// Functions that a task enters to wait for a filesystem's answer and for nothing else, except the
/// last two: buffered reads of any filesystem wait in the first, and the open file tells which; in
/// the other a path walk waits for a fanotify listener, which is no wait for the filesystem.
///
/// FUSE: `fs/fuse/{dev,inode,file,dir}.c`. NFS: `fs/nfs/inode.c`, `net/sunrpc/sched.c`. 9p:
/// `net/9p/client.c`. SMB: `fs/smb/client/transport.c`. Ceph: `fs/ceph/mds_client.c`.
pub const WAIT_FUNCTIONS: &[&str] = &[
    "request_wait_answer",
    "fuse_get_req",
    "fuse_lock_inode",
    "fuse_set_nowrite",
    "fuse_wait_on_page_writeback",
    "nfs_wait_bit_killable",
    "rpc_wait_bit_killable",
    "nfs4_wait_clnt_recover",
    "p9_client_rpc",
    "p9_client_zc_rpc",
    "wait_for_response",
    "ceph_mdsc_wait_request",
    "autofs_wait",
    "folio_wait_bit_common",
    "fanotify_handle_event",
];

/// Functions on the kernel stack of whoever aborts a FUSE connection, and why they do
/// (`fs/fuse/{dev,inode,control,req_timeout}.c`, 5.10 to 7.3). `fuse_kill_sb_*` became
/// `fuse_sb_destroy` in 5.10, and both names are looked for.
pub const ABORT_CAUSES: &[(&str, AbortCause)] = &[
    ("fuse_dev_release", AbortCause::ServerExit),
    ("fuse_conn_abort_write", AbortCause::Fusectl),
    ("fuse_umount_begin", AbortCause::ForcedUnmount),
    // Its caller: in 5.10 it ends in a jump and is not on the stack. An unmount that is not forced
    // aborts later, on the way back to the caller, or within one of the last three.
    ("path_umount", AbortCause::ForcedUnmount),
    ("fuse_check_timeout", AbortCause::Timeout),
    // It ends in a jump on 7.2, which leaves only its worker on the stack; a worker that closes a
    // descriptor for others is told from it by what lies between.
    ("delayed_fput", AbortCause::ServerExit),
    ("process_one_work", AbortCause::Timeout),
    ("fuse_conn_destroy", AbortCause::Unmount),
    ("fuse_sb_destroy", AbortCause::Unmount),
    ("fuse_kill_sb_anon", AbortCause::Unmount),
    ("fuse_kill_sb_blk", AbortCause::Unmount),
];

/// All of them fit into what the programs are told.
const _: () = assert!(WAIT_FUNCTIONS.len() <= TEXT_RANGES_MAX);
const _: () = assert!(ABORT_CAUSES.len() <= TEXT_RANGES_MAX);

/// The kernel functions we know by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// Whether addresses are shown; without `CAP_SYSLOG` they are all zero.
    pub are_shown: bool,
    functions: BTreeMap<String, Symbol>,
}

/// Where the text of a function lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// First address; 0 when it is not shown.
    pub start: u64,
    /// Where the next symbol begins; 0 when it is not shown.
    pub end: u64,
    /// The module it belongs to.
    pub module: Option<String>,
}

/// Bytes read at once: the kernel fills what it is given room for.
const CHUNK: usize = 256 << 10;

impl Symbols {
    /// Finds these functions, and those that tasks wait in, in one pass; takes some 40 ms.
    pub fn read(names: &BTreeSet<&str>) -> io::Result<Self> {
        let mut wanted: BTreeSet<&str> = WAIT_FUNCTIONS.iter().copied().collect();
        wanted.extend(ABORT_CAUSES.iter().map(|(name, _)| *name));
        wanted.extend(names);
        let file = File::open("/proc/kallsyms")?;
        Self::find(BufReader::with_capacity(CHUNK, file), &wanted)
    }

    /// The functions that exist and the module each is in, shown or not.
    pub fn owners(&self) -> BTreeMap<String, Option<String>> {
        let functions = self.functions.iter();
        functions
            .map(|(name, symbol)| (name.clone(), symbol.module.clone()))
            .collect()
    }

    /// Where a function's text lies, if that is shown.
    pub fn range(&self, name: &str) -> Option<(u64, u64)> {
        let symbol = self.functions.get(name)?;
        (symbol.end > symbol.start).then_some((symbol.start, symbol.end))
    }

    /// The functions that tasks wait in; none when addresses are not shown.
    pub fn wait_functions(&self) -> Vec<WaitFunction> {
        let found = WAIT_FUNCTIONS.iter().filter_map(|&name| {
            let (start, end) = self.range(name)?;
            let name = name.to_owned();
            Some(WaitFunction { start, end, name })
        });
        found.collect()
    }

    /// Where whoever aborts a connection comes from; none when addresses are not shown.
    pub fn abort_causes(&self) -> Vec<TextRange> {
        let found = ABORT_CAUSES.iter().filter_map(|&(name, cause)| {
            let (start, end) = self.range(name)?;
            let tag = u64::from(cause.to_wire());
            Some(TextRange { start, end, tag })
        });
        found.collect()
    }

    /// The core kernel's symbols are sorted by address, a module's are not: all are kept until the
    /// end, 8 bytes each, to tell where a function ends.
    fn find(mut list: impl BufRead, wanted: &BTreeSet<&str>) -> io::Result<Self> {
        let mut symbols = Self::default();
        let mut addresses: Vec<u64> = Vec::new();
        let mut line = Vec::new();
        while list.read_until(b'\n', &mut line)? > 0 {
            if let Some(found) = Line::parse(&line) {
                if found.start != 0 {
                    addresses.push(found.start);
                }
                if found.is_text()
                    && let Ok(name) = std::str::from_utf8(found.name)
                    && wanted.contains(name)
                {
                    let module = found.module.map(String::from_utf8_lossy);
                    let symbol = Symbol {
                        start: found.start,
                        end: 0,
                        module: module.map(Cow::into_owned),
                    };
                    // Of several functions of one name the kernel probes the first.
                    symbols.functions.entry(name.to_owned()).or_insert(symbol);
                }
            }
            line.clear();
        }
        symbols.are_shown = !addresses.is_empty();
        addresses.sort_unstable();
        for symbol in symbols.functions.values_mut() {
            let after = addresses.partition_point(|&address| address <= symbol.start);
            symbol.end = addresses.get(after).copied().unwrap_or(0);
        }
        Ok(symbols)
    }
}

/// Whether addresses are shown: those of the first symbols, of which some may be zero by right.
pub fn are_shown() -> bool {
    let mut start = vec![0; 4096];
    let read = File::open("/proc/kallsyms").and_then(|mut list| list.read(&mut start));
    let start = start.get(..read.unwrap_or(0)).unwrap_or_default();
    let mut lines = start.split(|&byte| byte == b'\n');
    lines.any(|line| Line::parse(line).is_some_and(|line| line.start != 0))
}

/// Farthest a stack's address lies from the start of its function; beyond, the code has gone.
const FUNCTION_BYTES_MAX: u64 = 1 << 20;

/// The functions in which addresses lie; takes about 50 ms. `None` when the list cannot be read.
pub fn names(addresses: &[u64]) -> Option<Vec<(u64, String)>> {
    let read = File::open("/proc/kallsyms").map(BufReader::new);
    read.and_then(|list| nearest(list, addresses))
        .inspect_err(|error| tracing::debug!(%error, "cannot read the kernel's symbols"))
        .ok()
}

/// One pass: each symbol is noted with the first address at or after it, and the best of all
/// addresses before counts too.
fn nearest(mut list: impl BufRead, addresses: &[u64]) -> io::Result<Vec<(u64, String)>> {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    let mut noted: Vec<(u64, Vec<u8>)> = vec![(0, Vec::new()); addresses.len()];
    let mut line = Vec::new();
    while list.read_until(b'\n', &mut line)? > 0 {
        if let Some(found) = Line::parse(&line)
            && found.is_text()
            && let Some(best) = noted.get_mut(addresses.partition_point(|&at| at < found.start))
            && best.0 < found.start
        {
            best.0 = found.start;
            best.1.clear();
            best.1.extend_from_slice(found.name);
        }
        line.clear();
    }
    let mut found = Vec::new();
    let mut best = (0, Vec::new());
    for (address, noted) in addresses.into_iter().zip(noted) {
        if noted.0 > best.0 {
            best = noted;
        }
        if best.0 != 0 && address - best.0 < FUNCTION_BYTES_MAX {
            found.push((address, String::from_utf8_lossy(&best.1).into_owned()));
        }
    }
    Ok(found)
}

/// A line `ffffffffc0839cb0 t request_wait_answer\t[fuse]`.
struct Line<'a> {
    start: u64,
    kind: u8,
    name: &'a [u8],
    module: Option<&'a [u8]>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty());
        Some(Self {
            start: hexadecimal(fields.next()?)?,
            kind: *fields.next()?.first()?,
            name: fields.next()?,
            module: fields
                .next()
                .and_then(|module| module.strip_prefix(b"[")?.strip_suffix(b"]")),
        })
    }

    fn is_text(&self) -> bool {
        matches!(self.kind, b't' | b'T' | b'w' | b'W')
    }
}

/// There are 200,000 of these to read at every start.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_ends_at_the_next_symbol_even_in_an_unsorted_module() {
        let list: &[u8] = b"1000 T fuse_get_req\n1080 t other\n1100 T rpc_other [sunrpc]\n\
            0000000000003000 t after [sunrpc]\n2000 t rpc_wait_bit_killable [sunrpc]\n\
            2040 t between [sunrpc]\n4000 d request_wait_answer\nnonsense\n";
        let names = [
            "fuse_get_req",
            "rpc_wait_bit_killable",
            "request_wait_answer",
        ];
        let found = Symbols::find(list, &names.into()).unwrap();
        assert!(found.are_shown);
        assert_eq!(found.range("fuse_get_req"), Some((0x1000, 0x1080)));
        assert_eq!(found.range("rpc_wait_bit_killable"), Some((0x2000, 0x2040)));
        assert_eq!(found.range("request_wait_answer"), None);
        let owners = found.owners();
        assert_eq!(owners["fuse_get_req"], None);
        assert_eq!(owners["rpc_wait_bit_killable"], Some("sunrpc".to_owned()));
    }

    #[test]
    fn an_address_lies_in_the_function_that_starts_last_before_it() {
        let list: &[u8] = b"1000 T first\n1080 t second\n1090 d data\n9000 t module [x]\n\
            3000 t unsorted [x]\n";
        let addresses = [0x9001, 0x1085, 0x1079, 0x3fff, 0xfff, 0x1086, 0x999_9999];
        let found = nearest(list, &addresses).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(at, name)| (*at, name.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (0x1079, "first"),
                (0x1085, "second"),
                (0x1086, "second"),
                (0x3fff, "unsorted"),
                (0x9001, "module"),
            ]
        );
    }

    #[test]
    fn hidden_addresses_tell_that_a_function_exists_and_no_more() {
        let list: &[u8] = b"0000000000000000 T fuse_get_req\t[fuse]\n0 t other\n";
        let found = Symbols::find(list, &["fuse_get_req"].into()).unwrap();
        assert!(!found.are_shown);
        assert_eq!(found.wait_functions(), []);
        assert_eq!(found.owners()["fuse_get_req"], Some("fuse".to_owned()));
    }
}
