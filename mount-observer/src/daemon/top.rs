//! `top`: where its snapshots come from, and its end. The screen has a thread of its own, so that a
//! terminal that takes nothing holds up neither the ring nor the end; it is given the latest, and what
//! it is not given is in the next.

mod api;
mod terminal;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{
    api::{Client, Silence},
    terminal::Screen,
};
use super::{
    record::{RecordOptions, Report},
    run::RunError,
    watch::{Turn, Watch, attached},
};
use crate::{
    config::{Config, listen_address},
    incident::{self, IncidentId, Summary},
    snapshot::Snapshot,
    top::News,
};

/// What waits for the screen; more is not told.
const TOLD_MAX: usize = 8;
/// Incidents remembered of those that were seen by this process.
const INCIDENTS_MAX: usize = 200;

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Source {
    /// The daemon there.
    Url(String),
    /// Nobody: it attaches by itself, and records what it learns where that is asked for.
    Itself(Option<RecordOptions>),
    /// The daemon of this machine, or nobody where none runs.
    Whoever,
}

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// There is nobody to look.
    #[error(
        "top needs a terminal for its input and output; `mount-observer status` tells the same once, also to a \
         file or a pipe"
    )]
    NoTerminal,
    /// No daemon, and no right to do without.
    #[error(
        "no daemon answers at {url} ({why}), and attaching without one failed; start one (`mount-observer \
         run`), name another with --url, or be root"
    )]
    Neither {
        /// Where one was looked for.
        url: String,
        /// What came of it.
        why: String,
        /// Why attaching failed.
        #[source]
        source: Box<RunError>,
    },
    /// Somebody else listens there.
    #[error("what listens at {0} is no daemon of this kind ({1}); --attach does without one")]
    Stranger(String, String),
    /// Attaching failed.
    #[error(transparent)]
    Attach(Box<RunError>),
    /// The terminal.
    #[error("the terminal failed")]
    Screen(#[source] io::Error),
    /// No thread, or no signals.
    #[error("cannot start")]
    Start(#[source] io::Error),
}

/// What the screen is told.
#[derive(Debug)]
enum Told {
    /// As a daemon tells it.
    News(News),
    /// As the observer of this process has it.
    Snapshot(Arc<Snapshot>),
    /// The same of incidents.
    Incidents(Vec<Summary>),
}

/// Shows until a key or a signal ends it; tells what came of the recording, if there was one.
pub fn top(config: &Config, source: Source, is_coloured: bool) -> Result<Option<Report>, TopError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    match source {
        Source::Url(url) => ask(Client::new(&url), is_coloured),
        Source::Itself(recorded) => {
            let shown = attach(config, recorded.as_ref(), is_coloured);
            shown.map_err(|error| TopError::Attach(Box::new(error)))?
        }
        Source::Whoever => {
            let client = Client::new(&own_url(config));
            match client.look() {
                Ok(_) | Err(Silence::NotYet(_)) => ask(client, is_coloured),
                Err(Silence::Odd(why)) => Err(TopError::Stranger(client.name(), why)),
                Err(Silence::Unreached(why)) => {
                    let shown = attach(config, None, is_coloured);
                    shown.map_err(|source| TopError::Neither {
                        url: client.name(),
                        why,
                        source: Box::new(source),
                    })?
                }
            }
        }
    }
}

/// Where the daemon of this machine listens.
fn own_url(config: &Config) -> String {
    let address = listen_address(&config.web.listen_address)
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 9967)));
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// Shows what a daemon tells.
fn ask(client: Client, is_coloured: bool) -> Result<Option<Report>, TopError> {
    let (tell, told) = sync_channel(TOLD_MAX);
    let name = format!("daemon at {}", client.name());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TopError::Start)?;
    // Left behind at the end: it may wait for an answer.
    let asking = thread::Builder::new().name("ask".to_owned());
    asking
        .spawn(move || client.follow(&tell))
        .map_err(TopError::Start)?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(TopError::Start)?;
        let mut screen = Screen::start(name, told, is_coloured).map_err(TopError::Start)?;
        tokio::select! {
            () = signals.any() => screen.end().await,
            ended = screen.ended() => ended,
        }
        .map_err(TopError::Screen)?;
        Ok(None)
    })
}

/// Shows what this process sees by itself.
fn attach(
    config: &Config,
    recorded: Option<&RecordOptions>,
    is_coloured: bool,
) -> Result<Result<Option<Report>, TopError>, RunError> {
    attached(config, recorded, async |watch| {
        let (tell, told) = sync_channel(TOLD_MAX);
        let name = "attached by itself, no daemon asked".to_owned();
        let started = Signals::new().and_then(|signals| {
            let screen = Screen::start(name, told, is_coloured)?;
            Ok((signals, screen))
        });
        match started {
            Ok((signals, screen)) => show(watch, tell, signals, screen).await,
            Err(error) => Ok(Err(TopError::Start(error))),
        }
    })
}

async fn show(
    mut watch: Watch,
    tell: SyncSender<Told>,
    mut signals: Signals,
    mut screen: Screen,
) -> Result<Result<Option<Report>, TopError>, RunError> {
    let mut seen = Seen::default();
    let mut is_untold = true;
    loop {
        let (wanted, snapshot) = watch.settle();
        is_untold |= seen.take(&wanted.kept);
        if is_untold {
            // A screen that is behind is told at the next turn.
            is_untold = tell.try_send(Told::Incidents(seen.summaries())).is_err();
        }
        if let Some(snapshot) = snapshot {
            tell.try_send(Told::Snapshot(snapshot)).ok();
        }
        let ended = tokio::select! {
            biased;
            () = signals.any() => screen.end().await,
            ended = screen.ended() => ended,
            turn = watch.turn() => match turn? {
                Turn::Learnt | Turn::Beat | Turn::Config(_) => continue,
            },
        };
        let recording = watch.engine.finish_recording();
        return Ok(ended.map(|()| recording).map_err(TopError::Screen));
    }
}

/// The incidents since this process attached, by their beginning.
#[derive(Debug, Default)]
struct Seen {
    incidents: BTreeMap<IncidentId, Summary>,
}

impl Seen {
    /// False when there is nothing new.
    fn take(&mut self, kept: &[incident::Incident]) -> bool {
        for incident in kept {
            let summary = Summary::of(incident);
            self.incidents.insert(incident.id.clone(), summary);
        }
        while self.incidents.len() > INCIDENTS_MAX {
            self.incidents.pop_first();
        }
        !kept.is_empty()
    }

    /// The latest first.
    fn summaries(&self) -> Vec<Summary> {
        let mut summaries: Vec<Summary> = self.incidents.values().cloned().collect();
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.started_unix_ns));
        summaries
    }
}

/// The signals that end it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_of_this_machine_is_asked_where_it_listens() {
        let mut config = Config::default();
        assert_eq!(own_url(&config), "http://127.0.0.1:9967");
        for (listens, asked) in [
            (":1234", "http://[::1]:1234"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:1", "http://[::1]:1"),
            ("192.0.2.1:80", "http://192.0.2.1:80"),
        ] {
            listens.clone_into(&mut config.web.listen_address);
            assert_eq!(own_url(&config), asked);
        }
    }
}
