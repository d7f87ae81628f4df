//! What the daemon itself takes: its processor time with and without the flight recorder. Both watch the
//! same mounts at the same time, so whatever else happens on the machine meets both alike.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use mount_observer_tests::receivers::free_port;

use crate::measure::{Row, print, wall_time};

/// How long a round is.
const ROUND: Duration = Duration::from_secs(5);

/// Between two turns of the load.
const PAUSE: Duration = Duration::from_millis(5);

/// One daemon; dropping it ends it.
struct Daemon {
    child: Child,
}

impl Daemon {
    fn start(directory: &Path, name: &str, flight: &str) -> Result<Self> {
        let own = directory.join(name);
        fs::create_dir(&own)?;
        let config = own.join("config.toml");
        fs::write(&config, format!("[record]\nflight = \"{flight}\"\n"))?;
        let port = free_port();
        let mut child = Command::new(beside_us()?)
            .arg("run")
            .arg(format!("--config={}", config.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--storage.path={}", own.join("journal").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run the observer")?;
        let said = child.stderr.take().context("standard error is piped")?;
        let mut lines = BufReader::new(said).lines();
        let is_ready = lines.any(|line| line.is_ok_and(|line| line.contains("observing")));
        ensure!(is_ready, "the observer ended");
        // Nobody may wait for a reader.
        let mut rest = lines.map_while(Result::ok);
        thread::spawn(move || while rest.next().is_some() {});
        Ok(Self { child })
    }

    /// Processor time of all its threads so far, ns (`/proc/PID/task/TID/schedstat`,
    /// `Documentation/scheduler/sched-stats.rst`).
    fn cpu_ns(&self) -> Result<f64> {
        let mut total = 0_u64;
        let tasks = format!("/proc/{}/task", self.child.id());
        #[expect(clippy::disallowed_methods, reason = "procfs, of our own child")]
        for task in fs::read_dir(tasks)? {
            let mut text = String::new();
            // A thread may have ended meanwhile.
            if let Ok(mut file) = fs::File::open(task?.path().join("schedstat")) {
                file.read_to_string(&mut text)?;
                let first = text.split(' ').next().unwrap_or_default();
                total += first.parse::<u64>().unwrap_or(0);
            }
        }
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "exact for a month"
        )]
        Ok(total as f64)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// The observer that was built with this benchmark.
fn beside_us() -> Result<PathBuf> {
    let us = std::env::current_exe()?;
    let binary = us.with_file_name("mount-observer");
    #[expect(clippy::disallowed_methods, reason = "on the machine's own disk")]
    let is_there = binary.exists();
    ensure!(is_there, "{} is not built", binary.display());
    Ok(binary)
}

/// Measures and prints; `turn` does a few operations on what is watched.
pub(crate) fn table(directory: &Path, rounds: usize, mut turn: impl FnMut()) -> Result<()> {
    let daemons = [
        Daemon::start(directory, "without", "0s")?,
        Daemon::start(directory, "without-again", "0s")?,
        Daemon::start(directory, "with", "5min")?,
    ];
    let names = ["not recording", "the same again", "flight recorder"];
    let mut rows = names.map(|name| Row {
        name,
        rounds: Vec::new(),
    });
    for _ in 0..rounds {
        let before = read(&daemons)?;
        let begun = wall_time();
        while wall_time().saturating_sub(begun) < ROUND {
            turn();
            thread::park_timeout(PAUSE);
        }
        let after = read(&daemons)?;
        let seconds = wall_time().saturating_sub(begun).as_secs_f64();
        for (row, (before, after)) in rows.iter_mut().zip(before.into_iter().zip(after)) {
            row.rounds.push((after - before) / seconds);
        }
    }
    print("the daemon's own processor time, ns a second", &rows);
    Ok(())
}

fn read(daemons: &[Daemon]) -> Result<Vec<f64>> {
    daemons.iter().map(Daemon::cpu_ns).collect()
}
