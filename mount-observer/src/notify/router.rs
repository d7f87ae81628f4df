//! Decides for each change of an alert who is told, and remembers who was.
//!
//! A sink that was told of an alert is told of its end, whatever has been silenced since. What was
//! kept from it is told when the reason is gone while the alert fires.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Notice, Route, Silence, Silences, Status};
use crate::{
    alert::{AlertKind, Resolution, Severity},
    superblock::SuperblockId,
    time::{Mono, Now},
};

/// An incident that came back this often is flapping: its end is told when it has stayed away.
const FLAPPING_RETURNS: u32 = 2;
/// For so long.
const FLAPPING_HOLD: Duration = Duration::from_mins(5);

/// Something to hand to a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Index of its route.
    pub sink: usize,
    /// What.
    pub notice: Arc<Notice>,
}

/// An alert that is kept from every sink from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// The alert.
    pub notice: Arc<Notice>,
    /// Why, in words.
    pub why: String,
}

/// What follows from a turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// To hand out, in order.
    pub deliveries: Vec<Delivery>,
    /// To say in the log.
    pub hidden: Vec<Hidden>,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Superblock(SuperblockId),
    MountPoint(String),
}

impl Subject {
    fn of(notice: &Notice) -> Self {
        match notice.superblock {
            Some(id) => Self::Superblock(id),
            None => Self::MountPoint(notice.mountpoint.clone()),
        }
    }
}

/// An alert that fires, or whose end is held back.
#[derive(Clone, Debug)]
struct Active {
    notice: Arc<Notice>,
    /// Who was told, and of which severity.
    told: BTreeMap<usize, Severity>,
    /// Its end and when that came, while it is held back.
    ended: Option<(Mono, Arc<Notice>)>,
    hidden: Option<Why>,
}

/// Why an alert is kept from the sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Silence(String),
    Cause(SuperblockId),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silence(silence) => f.write_str(silence),
            Self::Cause(id) => write!(f, "caused by {id}, whose alert fires"),
        }
    }
}

/// Who is told what.
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<Route>,
    silences: Silences,
    active: BTreeMap<(Subject, AlertKind), Active>,
    /// Ends that wait for the alert that takes over.
    superseded: BTreeMap<Subject, Vec<Delivery>>,
}

impl Router {
    /// With these routes.
    pub fn new(routes: Vec<Route>) -> Self {
        Self {
            routes,
            ..Self::default()
        }
    }

    /// Goes on with other routes to the same sinks.
    pub fn set_routes(&mut self, routes: Vec<Route>) {
        self.routes = routes;
    }

    /// Goes on with other silences; what they change follows at the next [`Self::tick`].
    pub fn set_silences(&mut self, silences: Silences) {
        self.silences = silences;
    }

    /// The silences there are.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// How many alerts are kept from the sinks now: by silences, and because of another's.
    pub fn kept_back(&self) -> (u64, u64) {
        let whys = self
            .active
            .values()
            .filter_map(|active| active.hidden.as_ref());
        whys.fold((0, 0), |(silenced, explained), why| match why {
            Why::Silence(_) => (silenced + 1, explained),
            Why::Cause(_) => (silenced, explained + 1),
        })
    }

    /// Takes a change.
    pub fn take(&mut self, now: Now, notice: Notice) -> Told {
        let notice = Arc::new(notice);
        match notice.status {
            Status::Firing => self.fires(now, notice),
            Status::Resolved => self.ends(now, notice),
        }
    }

    /// Looks at what only time or silences change.
    pub fn tick(&mut self, now: Now) -> Told {
        let mut told = Told::default();
        for waiting in std::mem::take(&mut self.superseded).into_values() {
            told.deliveries.extend(waiting);
        }
        let is_over = |ended: &Option<(Mono, _)>| {
            let at = ended.as_ref().map(|(at, _)| *at);
            at.is_some_and(|at| now.mono.since(at) >= FLAPPING_HOLD)
        };
        self.active.retain(|_, active| {
            if !is_over(&active.ended) {
                return true;
            }
            if let Some((_, end)) = &active.ended {
                told.deliveries.extend(to_all(&active.told, end));
            }
            false
        });
        let keys: Vec<_> = self.active.keys().cloned().collect();
        for key in keys {
            self.tell(now, &key, &mut told);
        }
        told
    }

    fn fires(&mut self, now: Now, notice: Arc<Notice>) -> Told {
        let subject = Subject::of(&notice);
        let waiting = self.superseded.remove(&subject).unwrap_or_default();
        let key = (subject, notice.kind);
        let active = self.active.entry(key.clone()).or_insert_with(|| Active {
            notice: Arc::clone(&notice),
            told: BTreeMap::new(),
            ended: None,
            hidden: None,
        });
        active.notice = notice;
        active.ended = None;
        let mut told = Told::default();
        self.tell(now, &key, &mut told);
        // Whoever hears of what took over need not hear that the other ended; the rest must.
        let heard = self.active.get(&key).map(|active| &active.told);
        let unheard = waiting
            .into_iter()
            .filter(|end| heard.is_none_or(|heard| !heard.contains_key(&end.sink)));
        told.deliveries.splice(0..0, unheard);
        told
    }

    fn ends(&mut self, now: Now, notice: Arc<Notice>) -> Told {
        let mut told = Told::default();
        let key = (Subject::of(&notice), notice.kind);
        let Some(mut active) = self.active.remove(&key) else {
            if notice.resolution == Some(Resolution::Unobserved) {
                told.deliveries = self.unobserved(now, &notice);
            }
            return told;
        };
        let is_flapping =
            notice.returns >= FLAPPING_RETURNS && notice.resolution == Some(Resolution::Recovered);
        if is_flapping {
            active.ended = Some((now.mono, notice));
            self.active.insert(key, active);
            return told;
        }
        for end in to_all(&active.told, &notice) {
            let waits = notice.successor.is_some_and(|next| {
                let route = self.routes.get(end.sink);
                route.is_some_and(|route| route.waits_for(next))
            });
            if waits {
                self.superseded.entry(key.0.clone()).or_default().push(end);
            } else {
                told.deliveries.push(end);
            }
        }
        told
    }

    /// The end of what an earlier observer told of: to whoever it must have told.
    fn unobserved(&self, now: Now, notice: &Arc<Notice>) -> Vec<Delivery> {
        if self.why_hidden(notice, now).is_some() {
            return Vec::new();
        }
        let routes = self.routes.iter().enumerate();
        let admitting = routes.filter(|(_, route)| route.admits(notice));
        let deliveries = admitting.map(|(sink, _)| Delivery {
            sink,
            notice: Arc::clone(notice),
        });
        deliveries.collect()
    }

    /// Tells of an alert that fires whoever wants to know and does not.
    fn tell(&mut self, now: Now, key: &(Subject, AlertKind), told: &mut Told) {
        let Some(active) = self.active.get(key).filter(|active| active.ended.is_none()) else {
            return;
        };
        let why = self.why_hidden(&active.notice, now);
        let Some(active) = self.active.get_mut(key) else {
            return;
        };
        if why.is_some() {
            if active.hidden != why {
                told.hidden.extend(why.iter().map(|why| Hidden {
                    notice: Arc::clone(&active.notice),
                    why: why.to_string(),
                }));
            }
            active.hidden = why;
            return;
        }
        active.hidden = None;
        for (sink, route) in self.routes.iter().enumerate() {
            let known = active.told.get(&sink).copied();
            if known < Some(active.notice.severity) && route.admits(&active.notice) {
                active.told.insert(sink, active.notice.severity);
                told.deliveries.push(Delivery {
                    sink,
                    notice: Arc::clone(&active.notice),
                });
            }
        }
    }

    fn why_hidden(&self, notice: &Notice, now: Now) -> Option<Why> {
        if let Some(silence) = self.silences.of(notice, now.wall) {
            return Some(Why::Silence(in_words(silence)));
        }
        let is_to_blame = |id: &SuperblockId| {
            let fires = |kind| {
                let active = self.active.get(&(Subject::Superblock(*id), kind));
                active.is_some_and(|active| active.ended.is_none())
            };
            notice.superblock != Some(*id) && (fires(AlertKind::Dead) || fires(AlertKind::Hung))
        };
        let lower = notice.caused_by.iter().find(|id| is_to_blame(id))?;
        Some(Why::Cause(*lower))
    }
}

fn in_words(silence: &Silence) -> String {
    let until = super::notice::rfc3339(silence.ends_unix_ns);
    format!("silence {} of {} until {until}", silence.id, silence.mount)
}

fn to_all<'a>(
    told: &'a BTreeMap<usize, Severity>,
    notice: &'a Arc<Notice>,
) -> impl Iterator<Item = Delivery> + 'a {
    told.keys().map(|&sink| Delivery {
        sink,
        notice: Arc::clone(notice),
    })
}
