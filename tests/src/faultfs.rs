//! A FUSE file system that misbehaves on command: it delays, withholds, loses or refuses the answer
//! to any kind of request, and everything it serves is otherwise healthy.
//!
//! It holds any number of regular files (every name that begins with `file`), the directory
//! `directory` with the same contents, and nothing else. Attributes and names are never cached by
//! the kernel unless told otherwise, so that every call reaches the server.

mod rules;
mod serve;
mod tree;

pub use rules::{Command, Op, Rule, Rules};
pub use serve::FaultFs;
