//! What version 3 wants besides the kernel's server: somebody to register with, and somebody to hand out
//! the root's handle. Both are daemons elsewhere; here a thread answers just these questions.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::OnceLock,
    thread,
};

/// Of rpcbind (RFC 1833).
const PORTMAP_PORT: u16 = 111;
/// Of mountd, where the mount is told to ask.
pub(super) const MOUNT_PORT: u16 = 20_048;
/// Program number of the mount protocol (RFC 1813, appendix I), and of the procedure asked for.
const MOUNT_PROGRAM: u32 = 100_005;
const MOUNT: u32 = 1;
/// The longest call that is listened to.
const CALL_BYTES_MAX: usize = 4096;

/// The handle of an export's root that is known by the number 0 (`knfsd_fh`, `fs/nfsd/nfsfh.h`): version
/// 1, no authentication, a number (`FSID_NUM`), no file below it; then that number.
const ROOT: [u8; 8] = [1, 0, 1, 0, 0, 0, 0, 0];

/// Starts both, once.
pub(super) fn start() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        for port in [PORTMAP_PORT, MOUNT_PORT] {
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || serve(stream));
                }
            });
        }
    });
}

/// Answers until the client leaves.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut mark = [0; 4];
        stream.read_exact(&mut mark)?;
        let length = u32::from_be_bytes(mark) & 0x7fff_ffff;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > CALL_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut call = vec![0; length];
        stream.read_exact(&mut call)?;
        let answer = answer(&call).ok_or(io::ErrorKind::InvalidData)?;
        let length = u32::try_from(answer.len()).unwrap_or(0);
        stream.write_all(&(length | 0x8000_0000).to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

/// An accepted call (RFC 5531) that went well: the handle to whoever wants to mount, yes to all others.
fn answer(call: &[u8]) -> Option<Vec<u8>> {
    let word = |index: usize| {
        let bytes = call.get(index * 4..index * 4 + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let (id, program, procedure) = (word(0)?, word(3)?, word(5)?);
    let mut words = vec![id, 1, 0, 0, 0, 0];
    if (program, procedure) != (MOUNT_PROGRAM, MOUNT) {
        words.push(1);
        return Some(bytes(&words));
    }
    words.extend([0, u32::try_from(ROOT.len()).ok()?]);
    let mut answer = bytes(&words);
    answer.extend(ROOT);
    // One way to authenticate: AUTH_SYS.
    answer.extend(bytes(&[1, 1]));
    Some(answer)
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
