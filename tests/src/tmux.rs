//! A real terminal: tmux draws what a program writes to it, types keys, changes its size, and tells
//! what it shows and in which state it is.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    libc,
    sys::termios::{FlowArg, tcflow},
};

use crate::{
    Process, Sandbox,
    needs::program,
    scene::SOON,
    wait::{patience, poll_every, within},
};

/// Between two looks at the screen.
const INTERVAL: Duration = Duration::from_millis(50);

/// A terminal with a shell in it.
#[derive(Debug)]
pub struct Terminal {
    tmux: PathBuf,
    socket: PathBuf,
    /// The server; the shell is its child and goes with it.
    pub server: Process,
    /// The shell.
    pub shell: u32,
}

impl Terminal {
    /// Opens one of this size.
    ///
    /// # Panics
    /// When there is no tmux, or it does not start.
    pub fn open(sandbox: &Sandbox, columns: u16, rows: u16) -> Self {
        let tmux = program("tmux").expect("tmux was needed");
        let socket = sandbox.path("tmux");
        let server = sandbox.spawn(&tmux, |command| {
            command
                .args(["-u", "-D", "-f/dev/null", "-S"])
                .arg(&socket)
                .env("LC_ALL", "C.UTF-8")
                .env_remove("ENV")
                .stderr(Stdio::null())
                .env_remove("TMUX");
        });
        let mut terminal = Self {
            tmux,
            socket,
            server,
            shell: 0,
        };
        let size = [columns.to_string(), rows.to_string()];
        let [columns, rows] = size.each_ref().map(String::as_str);
        let session = ["new-session", "-d", "-x", columns, "-y", rows, "/bin/sh"];
        within(SOON, "the server takes a session", || {
            terminal.try_tell(&session)
        });
        let shell = terminal.ask("#{pane_pid}");
        terminal.shell = shell.parse().expect("the shell's process id");
        terminal.wait_until("a prompt", |screen| !screen.trim().is_empty());
        terminal
    }

    fn try_tell(&self, words: &[&str]) -> Option<String> {
        let output = Command::new(&self.tmux)
            // Not a server of its own, before ours listens: nobody would end that.
            .args(["-u", "-N", "-S"])
            .arg(&self.socket)
            .args(words)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("tmux starts");
        let is_done = output.status.success();
        is_done.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn tell(&self, words: &[&str]) -> String {
        let done = self.try_tell(words);
        done.unwrap_or_else(|| panic!("tmux refuses {words:?}"))
    }

    /// What tmux knows of it: `#{cursor_flag}`.
    pub fn ask(&self, format: &str) -> String {
        let answer = self.tell(&["display-message", "-p", format]);
        answer.trim_end().to_owned()
    }

    /// Types this.
    pub fn text(&self, text: &str) {
        if !text.is_empty() {
            self.tell(&["send-keys", "-l", text]);
        }
    }

    /// Presses a key by tmux's name for it: `Enter`, `Escape`, `C-c`.
    pub fn key(&self, key: &str) {
        self.tell(&["send-keys", key]);
    }

    /// Forgets what is shown.
    pub fn reset(&self) {
        self.tell(&["send-keys", "-R"]);
    }

    /// Has the shell run a line.
    pub fn run(&self, line: &str) {
        self.text(line);
        self.key("Enter");
    }

    /// What is shown.
    pub fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// Changes its size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = [columns.to_string(), rows.to_string()];
        let [columns, rows] = size.each_ref().map(String::as_str);
        self.tell(&["resize-window", "-x", columns, "-y", rows]);
    }

    /// Waits until it shows something.
    ///
    /// # Panics
    /// When it does not; tells what it shows.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let found = poll_every(INTERVAL, patience(SOON * 2), || {
            Some(self.screen()).filter(|screen| is_so(screen))
        });
        found.unwrap_or_else(|| panic!("the terminal does not show {what}:\n{}", self.screen()))
    }

    /// Waits until it shows these words.
    #[track_caller]
    pub fn wait_for(&self, words: &str) -> String {
        self.wait_until(words, |screen| screen.contains(words))
    }

    /// Stops what is written to it on its way, or lets it go on: whoever writes waits meanwhile.
    ///
    /// # Panics
    /// When it cannot.
    pub fn flow(&self, goes_on: bool) {
        let mut options = File::options();
        let device = options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let device = device.open(self.ask("#{pane_tty}")).expect("the terminal");
        let action = if goes_on {
            FlowArg::TCOON
        } else {
            FlowArg::TCOOFF
        };
        tcflow(device, action).expect("the flow is changed");
    }

    /// Whether it is as a shell leaves it: its own screen, and a cursor.
    pub fn is_clean(&self) -> bool {
        self.ask("#{cursor_flag} #{alternate_on} #{mouse_any_flag}") == "1 0 0"
    }
}
