//! Callers that are set up first and call later: what leads them to a mount must be opened while it
//! still works.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{ChildStdin, Stdio},
};

use crate::{Process, Sandbox, sandbox::victim_program, scene::SOON};

/// A `victim --prepared` that waits to be told.
#[derive(Debug)]
pub struct Prepared {
    /// The process.
    pub process: Process,
    commands: ChildStdin,
}

impl Prepared {
    /// Lets it call; it may never return.
    ///
    /// # Panics
    /// When it is gone.
    pub fn start(mut self) -> Process {
        writeln!(self.commands).expect("the victim waits");
        self.process
    }

    /// Lets it call and returns its report.
    pub fn outcome(self) -> String {
        self.start().output_within(SOON).trim_end().to_owned()
    }
}

impl Sandbox {
    /// Starts `victim CALL PATH OPTIONS... --prepared` and waits until it is set up.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn prepared(&self, call: &str, path: &Path, options: &[&OsStr]) -> Prepared {
        let process = self.spawn(victim_program(), |command| {
            command
                .args([OsStr::new(call), path.as_os_str()])
                .args(options)
                .arg("--prepared")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
        });
        let commands = {
            let mut child = process.child().borrow_mut();
            let mut line = String::new();
            let stdout = child.stdout.as_mut().expect("stdout is piped");
            // It says nothing more before it is told to: no byte of its report can be read here.
            let read = BufReader::new(stdout).read_line(&mut line);
            assert!(
                read.is_ok() && line == "ready\n",
                "{process:?} is not set up: {line:?}"
            );
            child.stdin.take()
        };
        Prepared {
            process,
            commands: commands.expect("stdin is piped"),
        }
    }
}
