//! A rehearsal: an alert that is marked as one goes through every sink, past all routes and silences,
//! and ends. Nothing is watched and nothing is touched.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use super::{
    Failure, SinkError,
    alertmanager::{Peer, Style},
    open::{self, Opened, To},
    place::Place,
    pushgateway::Pushgateway,
    textfile::Textfile,
};
use crate::{
    alert::Transition,
    config::Config,
    daemon::{clock, hand::Hand},
    notify::{Notice, Origin},
    render::alertmanager::Alert,
    scope::Scope,
};

/// What came of one sink.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// The sink.
    pub sink: String,
    /// What went wrong when it was told that the alert fires, if anything did.
    pub firing: Result<(), String>,
    /// The same when it was told that it is over.
    pub resolved: Result<(), String>,
}

/// One thing to do, twice.
type Act = Box<dyn FnMut(&Notice) -> Result<(), Failure> + Send>;

/// Sends both changes through every sink, each on a thread of its own. What came of each is had as it
/// comes; the channel ends with the last.
pub fn rehearse(
    config: &Config,
    firing: &Transition,
    resolved: &Transition,
) -> Result<Receiver<Rehearsed>, SinkError> {
    let hand = open::needs_hand(config).then(Hand::start).transpose();
    let hand = hand.map_err(|error| SinkError::Start("the process that runs commands", error))?;
    let origin = Origin {
        host: open::host(),
        is_drill: true,
    };
    let notice = |transition| {
        let now = clock::now().wall;
        Notice::new(&origin, now, "Checked nothing; this is a drill", transition)
    };
    let (firing, resolved) = (notice(firing), notice(resolved));
    let acts = acts(config, hand.as_ref(), &origin.host)?;
    let (done, results) = sync_channel(acts.len().max(1));
    for (sink, mut act) in acts {
        let (done, firing, resolved) = (done.clone(), firing.clone(), resolved.clone());
        let rehearse = move || {
            let mut told = |notice| act(notice).map_err(said);
            let rehearsed = Rehearsed {
                sink,
                firing: told(&firing),
                resolved: told(&resolved),
            };
            // Whoever asked may have left.
            done.send(rehearsed).ok();
        };
        let spawned = thread::Builder::new()
            .name("sink".to_owned())
            .spawn(rehearse);
        spawned.map_err(|error| SinkError::Start("the thread of a sink", error))?;
    }
    Ok(results)
}

fn said(failure: Failure) -> String {
    match failure {
        Failure::Retry(error) | Failure::Refused(error) => error,
    }
}

fn acts(config: &Config, hand: Option<&Hand>, host: &str) -> Result<Vec<(String, Act)>, SinkError> {
    let told_only = Config {
        textfile: Vec::new(),
        pushgateway: Vec::new(),
        ..config.clone()
    };
    let opened = Opened::new(&told_only, hand)?;
    let mut acts: Vec<(String, Act)> = Vec::new();
    for one in opened.told {
        match one.to {
            To::Events(mut deliver, _) => {
                acts.push((one.name, Box::new(move |notice| deliver.deliver(notice))));
            }
            To::State(peers, config) => {
                let style = Style::of(&config, host, &opened.listen_address);
                for peer in peers {
                    let name = format!("{} ({})", one.name, peer.name());
                    acts.push((name, alertmanager(peer, style.clone())));
                }
            }
        }
    }
    let place = Place::new(Scope::new(&config.scope)?);
    for (section, index, name) in config.sink_names() {
        let act = match section {
            "textfile" => config
                .textfile
                .get(index)
                .map(|sink| textfile(Textfile::for_drill(&sink.directory, place.clone()))),
            "pushgateway" => match config.pushgateway.get(index) {
                Some(sink) => Some(pushgateway(Pushgateway::for_drill(sink, host, &place)?)),
                None => None,
            },
            _ => None,
        };
        acts.extend(act.map(|act| (name.to_owned(), act)));
    }
    Ok(acts)
}

fn alertmanager(peer: Peer, style: Style) -> Act {
    Box::new(move |notice| {
        let alert = Alert::new(notice, &style.labels, &style.generator_url);
        peer.send(&[&alert])
    })
}

fn textfile(mut file: Textfile) -> Act {
    use super::metrics::WriteMetrics as _;
    Box::new(move |notice| {
        if notice.is_firing() {
            file.write(&metric(notice))
        } else {
            file.remove()
                .map_err(|error| Failure::Retry(error.to_string()))
        }
    })
}

fn pushgateway(mut group: Pushgateway) -> Act {
    use super::metrics::WriteMetrics as _;
    Box::new(move |notice| {
        if notice.is_firing() {
            group.write(&metric(notice))
        } else {
            group.delete()
        }
    })
}

fn metric(notice: &Notice) -> String {
    let seconds = notice.at.0 / 1_000_000_000;
    format!(
        "# HELP mount_observer_drill_timestamp_seconds When a rehearsal wrote this.\n\
         # TYPE mount_observer_drill_timestamp_seconds gauge\n\
         mount_observer_drill_timestamp_seconds {seconds}\n"
    )
}
