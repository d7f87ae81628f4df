//! The kernel functions in which tasks wait for a filesystem, and where their text lies.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

use crate::input::{Input, WaitFunction};

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

/// Whether `/proc/kallsyms` shows addresses; without `CAP_SYSLOG` they are all zero.
pub fn are_shown() -> bool {
    let Ok(file) = File::open("/proc/kallsyms") else {
        return false;
    };
    let mut line = Vec::new();
    // The first symbols may lie at 0: per-CPU offsets on older kernels. Some line must not.
    let mut reader = BufReader::new(file);
    for _ in 0..4096 {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return false,
            Ok(_) if parse(&line).is_some_and(|(address, ..)| address != 0) => return true,
            Ok(_) => {}
        }
    }
    false
}

/// Finds the wait functions in `/proc/kallsyms`; takes about 50 ms.
pub fn wait_functions() -> io::Result<Vec<WaitFunction>> {
    let read = || File::open("/proc/kallsyms").map(BufReader::new);
    resolve(read()?, read()?, WAIT_FUNCTIONS)
}

/// The wait functions for the observer, and whether there are any.
pub fn inputs(functions: Vec<WaitFunction>) -> [Input; 2] {
    let unseen = Input::Unseen {
        what: "list of kernel symbols: needs CAP_SYSLOG and kernel.kptr_restrict below 2",
        count: u64::from(functions.is_empty()),
    };
    [unseen, Input::WaitFunctions(functions)]
}

/// Two passes over the same list: starts first, then the nearest symbol after each. The core
/// kernel's symbols are sorted, a module's are not.
fn resolve(
    starts: impl BufRead,
    ends: impl BufRead,
    names: &[&str],
) -> io::Result<Vec<WaitFunction>> {
    let mut found: Vec<WaitFunction> = Vec::new();
    for line in starts.split(b'\n') {
        let line = line?;
        let Some((address, kind, name)) = parse(&line) else {
            continue;
        };
        let is_text = matches!(kind, b't' | b'T');
        if is_text && address != 0 && names.iter().any(|wanted| wanted.as_bytes() == name) {
            let name = String::from_utf8_lossy(name).into_owned();
            found.push(WaitFunction {
                start: address,
                end: u64::MAX,
                name,
            });
        }
    }
    for line in ends.split(b'\n') {
        let line = line?;
        let Some((address, ..)) = parse(&line) else {
            continue;
        };
        for function in &mut found {
            if function.start < address && address < function.end {
                function.end = address;
            }
        }
    }
    found.retain(|function| function.end != u64::MAX);
    Ok(found)
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
        if let Some((start, kind, name)) = parse(&line)
            && matches!(kind, b't' | b'T' | b'w' | b'W')
            && let Some(best) = noted.get_mut(addresses.partition_point(|&at| at < start))
            && best.0 < start
        {
            best.0 = start;
            best.1.clear();
            best.1.extend_from_slice(name);
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

/// Address, kind and name of a line `ffffffff81839cb0 t request_wait_answer`.
fn parse(line: &[u8]) -> Option<(u64, u8, &[u8])> {
    let mut fields = line.split(u8::is_ascii_whitespace);
    let address = u64::from_str_radix(std::str::from_utf8(fields.next()?).ok()?, 16).ok()?;
    let kind = *fields.next()?.first()?;
    Some((address, kind, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_ends_at_the_next_symbol_even_in_an_unsorted_module() {
        let list: &[u8] = b"1000 T fuse_get_req\n1080 t other\n1100 T rpc_other [sunrpc]\n\
            0000000000003000 t after [sunrpc]\n2000 t rpc_wait_bit_killable [sunrpc]\n\
            2040 t between [sunrpc]\n4000 d request_wait_answer\nnonsense\n";
        let names = &[
            "fuse_get_req",
            "rpc_wait_bit_killable",
            "request_wait_answer",
        ];
        let found = resolve(list, list, names).unwrap();
        let ranges: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.start, f.end))
            .collect();
        assert_eq!(
            ranges,
            [
                ("fuse_get_req", 0x1000, 0x1080),
                ("rpc_wait_bit_killable", 0x2000, 0x2040)
            ]
        );
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
    fn hidden_addresses_find_nothing() {
        let list: &[u8] = b"0 T fuse_get_req\n0 t other\n";
        assert_eq!(resolve(list, list, WAIT_FUNCTIONS).unwrap(), []);
    }
}
