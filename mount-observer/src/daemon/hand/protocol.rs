//! What daemon and hand say to each other: frames of a length (32 bits, little endian) and as many
//! bytes of JSON.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longest frame; an alert with its victims is some 20 KiB.
pub(super) const FRAME_BYTES_MAX: usize = 4 << 20;

/// A task with the number its answer will bear.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) task: Task,
}

/// The answer to one request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) id: u64,
    pub(super) answer: Answer,
}

/// What the hand can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Task {
    /// Run a command.
    Run(Run),
    /// Do something by itself.
    Act(Action),
}

/// What the hand does by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Abort a FUSE connection through fusectl.
    AbortConnection {
        /// Its number: the directory under `/sys/fs/fuse/connections`.
        connection: u32,
        /// Whose it is, or nothing is done.
        of: OnTop,
    },
    /// Detach what is mounted on top there, whatever has it open.
    LazyUnmount {
        /// What that is, or nothing is done.
        of: OnTop,
    },
    /// Say whether something is at this path. Where it is on a mount that hangs, only the answer fails.
    IsThere {
        /// The path.
        path: String,
    },
    /// Make a file if there is none, and keep it locked for as long as the hand lives.
    Lock {
        /// The file.
        path: String,
    },
}

/// What should be mounted somewhere, on top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnTop {
    /// Where.
    pub mount_point: Vec<u8>,
    /// mountinfo's mount id.
    pub mount_id: u32,
    /// The superblock's number, as the kernel encodes it.
    pub dev: u32,
}

/// What no command takes: the kernel answers at once, or the mount it was asked about hangs.
const ACTION_MAX: Duration = Duration::from_secs(10);

/// A command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The program, an absolute path, and its arguments: no shell comes between.
    pub command: Vec<String>,
    /// Added to an environment that holds `PATH` and `LANG` only.
    pub environment: BTreeMap<String, String>,
    /// What it reads from standard input.
    pub input: String,
    /// After this long it is killed with its process group, ms.
    pub timeout_ms: u64,
}

impl Task {
    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        match self {
            Self::Run(run) => Duration::from_millis(run.timeout_ms),
            Self::Act(_) => ACTION_MAX,
        }
    }
}

/// What came of a task. What is no command is done, is not, or failed: [`Answer::Exited`] is a command's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Answer {
    /// The command ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// The beginning of what it wrote, lossily as text.
        said: String,
    },
    /// A signal ended it.
    Killed {
        /// Which.
        signal: i32,
        /// The beginning of what it wrote.
        said: String,
    },
    /// It took too long and was killed.
    TimedOut {
        /// The beginning of what it wrote.
        said: String,
    },
    /// It could not be started or followed.
    Failed {
        /// Why.
        why: String,
    },
    /// It was done; of a question, the answer is yes.
    Done,
    /// The answer is no.
    No,
    /// As many tasks as possible run already.
    Busy,
}

/// Writes one frame, whole.
pub(super) fn write_frame(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    let prefix = u32::try_from(length)
        .ok()
        .filter(|_| length <= FRAME_BYTES_MAX);
    let prefix = prefix.ok_or_else(|| io::Error::other("the message is too long"))?;
    for (byte, of_length) in frame.iter_mut().zip(prefix.to_le_bytes()) {
        *byte = of_length;
    }
    to.write_all(&frame)
}

/// Reads one frame; `None` where the other side has ended.
pub(super) fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut prefix = [0; 4];
    match from.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}
