//! The observer under test: the real binary, watched only through what users see of it.

#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON value lacks reads as null"
)]

mod seen;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use self::seen::epoch_of_id;
pub use self::seen::{Superblock, Transition, device_of_id};
use crate::{
    http,
    process::Process,
    receivers::free_port,
    sandbox::Sandbox,
    wait::{now, patience, poll, poll_every},
};

/// To load and attach programs on a busy machine, and to answer its first request.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Between two snapshots of one test.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(50);

/// Target of the log lines that report a change of an alert.
const ALERT_TARGET: &str = "mount_observer::alert";

/// A running `mount-observer run`.
#[derive(Debug)]
pub struct Observer {
    /// The daemon (or the tracer it runs under).
    pub process: Process,
    /// Its configuration file.
    pub config: PathBuf,
    /// Where it keeps its journal.
    pub storage: PathBuf,
    /// The port of its HTTP listener on the loopback.
    pub port: u16,
    log: Log,
}

/// Lines logged so far, each with the time it arrived.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<(Instant, Value)>>>);

/// How to start an observer.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file's text.
    pub config: String,
    /// A program with arguments to run the observer under (strace).
    pub wrapper: Vec<String>,
    /// Where it keeps its journal; a directory of its own when `None`.
    pub storage: Option<PathBuf>,
    /// Further arguments of `run`.
    pub arguments: Vec<String>,
    /// `json`, which [`Observer::transitions`] reads, or `text` for people.
    pub log_format: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: String::new(),
            wrapper: Vec::new(),
            storage: None,
            arguments: Vec::new(),
            log_format: "json",
        }
    }
}

impl Observer {
    /// Starts an observer with this configuration and waits until it is ready.
    pub fn start(sandbox: &Sandbox, config: &str) -> Self {
        let options = Options {
            config: config.to_owned(),
            ..Options::default()
        };
        Self::start_with(sandbox, &options)
    }

    /// The same with everything else that can be chosen.
    ///
    /// # Panics
    /// When it does not become ready; the log is printed.
    pub fn start_with(sandbox: &Sandbox, options: &Options) -> Self {
        let port = free_port();
        // In a directory of its own: the daemon may read all of it.
        let config = sandbox
            .directory(format!("observer-{port}"))
            .join("config.toml");
        fs::write(&config, &options.config).expect("write the configuration");
        let storage = || sandbox.path(format!("journal-{port}"));
        let storage = options.storage.clone().unwrap_or_else(storage);
        let mut words = options.wrapper.clone();
        words.push(binary().display().to_string());
        let (program, wrapped) = words.split_first().expect("at least the binary");
        let process = sandbox.spawn(program, |command| {
            command
                .args(wrapped)
                .arg("run")
                .arg(format!("--config={}", config.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg(format!("--storage.path={}", storage.display()))
                .arg(format!("--log.format={}", options.log_format))
                .args(&options.arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        });
        let log = Log::default();
        let (stdout, stderr) = {
            let mut child = process.child().borrow_mut();
            (child.stdout.take(), child.stderr.take())
        };
        log.follow(stdout.expect("stdout is piped"));
        log.follow(stderr.expect("stderr is piped"));
        let observer = Self {
            process,
            config,
            storage,
            port,
            log,
        };
        let ready = poll(patience(START_DEADLINE), || {
            let ended = observer.process.exited_within(Duration::ZERO);
            assert!(
                ended.is_none(),
                "the observer ended: {ended:?}\n{}",
                observer.log_text()
            );
            matches!(http::get(port, "/-/ready"), Ok((200, _))).then_some(())
        });
        assert!(
            ready.is_some(),
            "the observer is not ready\n{}",
            observer.log_text()
        );
        observer.wait_for_symbols();
        observer
    }

    /// Waits until it has read the list of the kernel's symbols, for which nobody has to wait: until then
    /// it does not name what tasks wait in, nor who aborted a connection.
    fn wait_for_symbols(&self) {
        let is_told = self.look(START_DEADLINE, || {
            let snapshot = self.snapshot();
            let words = snapshot["observer"]["degraded"].as_array()?.iter();
            let mut words = words.filter_map(Value::as_str);
            (!words.any(|words| words.ends_with("being read"))).then_some(())
        });
        assert!(is_told.is_some(), "{}", self.log_text());
    }

    /// The daemon's own process: under a tracer, the tracer's child.
    pub fn daemon_pid(&self) -> u32 {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let child = children
            .ok()
            .and_then(|list| list.split(' ').next()?.parse().ok());
        child.unwrap_or(pid)
    }

    /// `/api/v1/snapshot`.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn snapshot(&self) -> Value {
        self.api("/api/v1/snapshot")
    }

    /// What the API has at this path.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn api(&self, path: &str) -> Value {
        let (status, body) = http::get(self.port, path).expect(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// `/metrics`.
    ///
    /// # Panics
    /// When they cannot be had.
    pub fn metrics(&self) -> String {
        let (status, body) = http::get(self.port, "/metrics").expect("the metrics");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// How a probe is attached (`fentry`); `None` when it is not.
    pub fn probe_kind(&self, probe: &str) -> Option<String> {
        let snapshot = self.snapshot();
        let probes = snapshot["observer"]["probes"].as_array()?;
        let found = probes.iter().find(|known| known["probe"] == probe)?;
        found["kind"].as_str().map(str::to_owned)
    }

    /// Why a probe is attached as it is, or not.
    pub fn probe_reason(&self, probe: &str) -> String {
        let snapshot = self.snapshot();
        let mut probes = snapshot["observer"]["probes"]
            .as_array()
            .into_iter()
            .flatten();
        let found = probes.find(|known| known["probe"] == probe);
        found.map_or_else(String::new, |found| found["reason"].to_string())
    }

    /// The value of one counter, by its full name with labels.
    pub fn counter(&self, series: &str) -> Option<u64> {
        self.metrics()
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The newest superblock under this device number, and when that was known.
    pub fn superblock(&self, dev: &str) -> Option<Superblock> {
        let mut snapshot = self.snapshot();
        let taken_unix_ns = snapshot["taken_unix_ns"].as_u64()?;
        let all = snapshot["superblocks"].as_array_mut().map(std::mem::take)?;
        all.into_iter()
            .filter(|superblock| device_of_id(superblock["id"].as_str()) == Some(dev))
            .max_by_key(|superblock| epoch_of_id(superblock["id"].as_str()))
            .map(|json| Superblock(json, Duration::from_nanos(taken_unix_ns)))
    }

    /// Waits until the superblock is as described.
    ///
    /// # Panics
    /// When it does not become so within the deadline; shows what was seen last.
    #[track_caller]
    pub fn wait_for(
        &self,
        dev: &str,
        deadline: Duration,
        what: &str,
        is_so: impl Fn(&Superblock) -> bool,
    ) -> Superblock {
        let found = self.look(patience(deadline), || self.superblock(dev).filter(&is_so));
        found.unwrap_or_else(|| {
            panic!(
                "{dev} not {what} within {deadline:?}; last seen: {:#}\n{}",
                self.superblock(dev)
                    .map_or(Value::Null, |superblock| superblock.0),
                self.log_text()
            )
        })
    }

    /// Waits for a state.
    #[track_caller]
    pub fn wait_for_state(&self, dev: &str, state: &str, deadline: Duration) -> Superblock {
        self.wait_for(dev, deadline, state, |superblock| {
            superblock.state() == state
        })
    }

    /// Looks again and again until the time is over, and fails as soon as it is not so.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn stays(
        &self,
        dev: &str,
        time: Duration,
        what: &str,
        is_so: impl Fn(&Superblock) -> bool,
    ) {
        let broken = self.look(time, || {
            self.superblock(dev).filter(|superblock| !is_so(superblock))
        });
        if let Some(Superblock(seen, _)) = broken {
            panic!("{dev} did not stay {what}: {seen:#}\n{}", self.log_text());
        }
    }

    /// Waits until no superblock has this device number any more.
    ///
    /// # Panics
    /// When one still does.
    #[track_caller]
    pub fn wait_until_gone(&self, dev: &str, deadline: Duration) {
        let gone = self.look(patience(deadline), || {
            self.superblock(dev).is_none().then_some(())
        });
        assert!(gone.is_some(), "{dev} is still there\n{}", self.log_text());
    }

    /// Looks at the snapshot now and then, gently: the observer must not be busy answering us.
    pub fn look<T>(&self, deadline: Duration, look: impl FnMut() -> Option<T>) -> Option<T> {
        poll_every(SNAPSHOT_INTERVAL, deadline, look)
    }

    /// Every transition logged so far.
    pub fn transitions(&self) -> Vec<Transition> {
        self.log
            .lines()
            .into_iter()
            .filter(|(_, line)| line["target"] == ALERT_TARGET)
            .map(|(at, fields)| Transition { at, fields })
            .collect()
    }

    /// Waits for a transition.
    ///
    /// # Panics
    /// When it does not come within the deadline.
    #[track_caller]
    pub fn wait_for_transition(
        &self,
        superblock: &str,
        kind: &str,
        change: &str,
        deadline: Duration,
    ) -> Transition {
        let found = poll(patience(deadline), || {
            self.transitions()
                .into_iter()
                .find(|transition| transition.is(superblock, kind, change))
        });
        found.unwrap_or_else(|| {
            panic!(
                "no transition of {superblock} {kind} {change} within {deadline:?}; last seen: {:#}\n{}",
                self.superblock(superblock).map_or(Value::Null, |superblock| superblock.0),
                self.log_text()
            )
        })
    }

    /// Every line logged so far, as it was written where that was no JSON.
    pub fn log_lines(&self) -> Vec<String> {
        let lines = self.log.lines().into_iter();
        lines
            .map(|(_, line)| {
                line.as_str()
                    .map_or_else(|| line.to_string(), str::to_owned)
            })
            .collect()
    }

    /// The log as text, for the message of a failing test.
    pub fn log_text(&self) -> String {
        format!(
            "the observer's log:\n    {}",
            self.log_lines().join("\n    ")
        )
    }
}

impl Log {
    /// Takes in lines as they come, from a thread that ends with the pipe.
    fn follow(&self, pipe: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                log.0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((now(), value));
            }
        });
    }

    fn lines(&self) -> Vec<(Instant, Value)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The daemon's binary: `MOUNT_OBSERVER_BIN`, else what cargo builds from this workspace.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("MOUNT_OBSERVER_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let is_built = Command::new(cargo)
        .args(["build", "--quiet", "--package=mount-observer"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .is_ok_and(|status| status.success());
    assert!(is_built, "cargo build --package=mount-observer failed");
    crate::sandbox::beside_us("mount-observer")
}
