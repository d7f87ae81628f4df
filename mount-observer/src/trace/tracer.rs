//! Turns the inputs of the observer into the lines of a trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    decode::{self, Caller, Ended, Event, Traced},
    health::{CALLS_MISSED, RUNS_LOST},
    input::{Effect, Input, KernelHealth},
    observer::Observer,
    requests::Tracked,
    superblock::Dev,
    time::{Mono, Now, nanos},
};

use super::{
    File, Filter, FilterError, Line, Lost, Matcher, OperationLine, Place, State, Subject, Summary,
    places::{PlaceId, Places},
    summary::{Circumstances, Counts},
    waits::{Key, Wait, Waits},
};

/// Control groups remembered that the filter named at some time.
const GROUPS_MAX: usize = 65_536;

/// Kernel function in which a task waits for a request that is among those in flight.
const WAITS_FOR_REQUEST: &str = "request_wait_answer";

/// What was left out on demand.
const SAMPLED_OUT: &str = "sampled_out";

/// Counters of the kernel side that say how much a trace did not show, and how they are called here.
const LOSSES: [(&str, &str); 7] = [
    ("trace_lost", "records_lost"),
    ("trace_skipped", SAMPLED_OUT),
    (RUNS_LOST, "runs_missed"),
    (CALLS_MISSED, "calls_missed"),
    ("slot_collisions", "calls_not_followed"),
    ("in_flight_full", "requests_not_followed"),
    ("lost_map_reads", "readings_failed"),
];

/// No news while it goes on: what was left out on demand, and what concerns every call of the machine.
const NO_NEWS: [&str; 2] = [SAMPLED_OUT, "calls_missed"];

/// What a trace is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What it shows.
    pub filter: Filter,
    /// From when on an operation that has not ended is shown.
    pub blocked_after: Duration,
    /// After how many operations that ended it is over.
    pub count: Option<NonZero<u64>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            blocked_after: Duration::from_secs(1),
            count: None,
        }
    }
}

/// A trace.
#[derive(Debug)]
pub struct Tracer {
    matcher: Matcher,
    options: Options,
    places: Places,
    groups: BTreeSet<u64>,
    waits: Waits,
    counts: Counts,
    unattributed: u64,
    lost: BTreeMap<&'static str, u64>,
    /// The part of it that was lost before the trace began.
    lost_before: BTreeMap<&'static str, u64>,
    /// One of so many is taken here; 1 where the kernel side samples.
    one_of: u64,
    /// Operations that the filter admitted, where they are sampled here.
    admitted: u64,
    begun: Option<Now>,
    now: Now,
    lines: Vec<Line>,
}

impl Tracer {
    /// A trace that has seen nothing yet.
    pub fn new(options: &Options) -> Result<Self, FilterError> {
        let filter = &options.filter;
        Ok(Self {
            matcher: Matcher::new(filter)?,
            options: options.clone(),
            places: Places::default(),
            groups: BTreeSet::new(),
            waits: Waits::default(),
            counts: Counts::default(),
            unattributed: 0,
            lost: BTreeMap::new(),
            lost_before: BTreeMap::new(),
            one_of: if filter.is_sampled_in_kernel() {
                1
            } else {
                u64::from(filter.sample.get())
            },
            admitted: 0,
            begun: None,
            now: Now::default(),
            lines: Vec::new(),
        })
    }

    /// What was said so far stood before it began: what was lost until then is not lost here.
    pub fn begin_after_this(&mut self) {
        self.begun = None;
        self.lost_before.clone_from(&self.lost);
        self.lines.retain(|line| !matches!(line, Line::Lost(_)));
    }

    /// What it does.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether it has shown as many operations as it was to.
    pub fn is_over(&self) -> bool {
        let count = self.options.count;
        count.is_some_and(|count| self.counts.ended >= count.get())
    }

    /// Takes an input that is for the trace alone; false for what is the observer's.
    pub fn takes(&mut self, now: Now, input: &Input, observer: &Observer) -> bool {
        self.begun.get_or_insert(now);
        if !self.is_over() {
            self.now = now;
        }
        if let Input::Record(bytes) = input {
            let Some(Event::Traced(traced)) = decode::event(bytes) else {
                return false;
            };
            self.on_ended(&traced, observer);
            return true;
        }
        if let Input::TraceGroups(groups) = input {
            for group in groups {
                if self.groups.len() < GROUPS_MAX || self.groups.contains(group) {
                    self.groups.insert(*group);
                }
            }
            return true;
        }
        if let Input::Health(health) = input {
            self.note_losses(health);
        }
        if matches!(input, Input::Mountinfo { .. } | Input::Namespaces(_)) {
            self.places.grow_old();
        }
        false
    }

    /// Whether what is known of operations that have not ended is another after this input.
    pub fn looks_after(&self, input: &Input) -> bool {
        matches!(
            input,
            Input::InFlight(_) | Input::Holders(_) | Input::Tasks { .. } | Input::Tick
        )
    }

    /// Takes what the observer made of an input that was its own; `looks` where that was one of
    /// [`Tracer::looks_after`].
    pub fn follow(&mut self, observer: &Observer, effects: &[Effect], looks: bool) {
        if self.is_over() {
            return;
        }
        if looks {
            self.look(observer);
        }
        for effect in effects {
            if let Effect::Transition(transition) = effect {
                self.lines.push(Line::Alert {
                    at: self.now.wall,
                    transition: transition.clone(),
                });
            }
        }
    }

    /// What there is to show since the last call, in order.
    pub fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// What it comes to so far.
    pub fn summary(&self) -> Summary {
        self.counts.summary(Circumstances {
            begun: self.begun.unwrap_or(self.now),
            ended: self.now,
            places: &self.places,
            blocked: self.waits.iter().collect(),
            unattributed: self.unattributed,
            sample: self.options.filter.sample.get(),
            lost: self.lost_here(),
        })
    }

    fn lost_here(&self) -> BTreeMap<&'static str, u64> {
        let lost = self.lost.iter();
        lost.map(|(what, total)| (*what, self.since_begun(what, *total)))
            .collect()
    }

    /// The part of a total that was lost since the trace began.
    fn since_begun(&self, what: &str, total: u64) -> u64 {
        total.saturating_sub(self.lost_before.get(what).copied().unwrap_or(0))
    }

    fn on_ended(&mut self, traced: &Traced, observer: &Observer) {
        if self.is_over() {
            return;
        }
        let ended = &traced.ended;
        let place = ended
            .dev
            .and_then(|dev| Some((dev, self.place(dev, observer)?)));
        let Some((dev, (id, place))) = place else {
            self.unattributed += u64::from(self.options.filter.names_no_mount());
            return;
        };
        let was_blocked = self.waits.end(traced);
        let subject = Subject {
            pid: ended.caller.pid,
            comm: &ended.caller.comm,
            is_in_group: traced.cgroup.map(|group| self.groups.contains(&group)),
            operation: Some(ended.operation),
            errno: ended.errno,
            latency: ended.latency,
        };
        let has_blocked = (ended.latency).is_some_and(|took| took >= self.options.blocked_after);
        let is_shown =
            was_blocked || self.matcher.admits(&subject) && (has_blocked || self.is_sampled());
        if !is_shown {
            return;
        }
        self.counts
            .add(id, ended.operation, ended.errno, ended.latency);
        let line = ended_line(self.now, (dev, place), traced, was_blocked);
        self.lines.push(Line::Operation(Box::new(line)));
    }

    /// Whether an operation that the filter admits is one of those wanted; the first is.
    fn is_sampled(&mut self) -> bool {
        if self.one_of == 1 {
            return true;
        }
        let is_it = self.admitted.is_multiple_of(self.one_of);
        self.admitted += 1;
        *self.lost.entry(SAMPLED_OUT).or_default() += u64::from(!is_it);
        is_it
    }

    /// The superblock's place, where the filter admits it.
    fn place(&mut self, dev: Dev, observer: &Observer) -> Option<(PlaceId, Arc<Place>)> {
        let id = self.places.of(dev, &self.matcher, observer)?;
        let (_, place) = self.places.get(id)?;
        Some((id, Arc::clone(place)))
    }

    /// Looks for what has begun to block, and for what does so no more.
    fn look(&mut self, observer: &Observer) {
        if !self.matcher.shows_unended() {
            return;
        }
        let requests = observer.requests();
        for request in requests.iter() {
            self.look_at_request(request, requests.proven_at(request), observer);
        }
        let now = self.now.mono;
        for waiter in observer.waiters().iter() {
            let is_request = match waiter.waits_in.as_deref() {
                Some(function) => function == WAITS_FOR_REQUEST,
                None => observer.is_fuse(waiter.dev),
            };
            if is_request || !waiter.is_in_filesystem() {
                continue;
            }
            if let Some((id, _)) = self.place(waiter.dev, observer) {
                let (keys, wait) = Wait::of_task(waiter, id, now);
                self.see(&keys, wait, None);
            }
        }
        for wait in self.waits.take_gone(now) {
            self.counts.add_gone(wait.place, wait.operation);
            self.show(&wait, State::Gone, true);
        }
    }

    fn look_at_request(&mut self, request: &Tracked, proven: Mono, observer: &Observer) {
        if request.age(proven) < self.options.blocked_after {
            return;
        }
        if let Some((id, _)) = self.place(request.dev, observer) {
            let (keys, wait) = Wait::of_request(request, id, (proven, self.now.mono));
            self.see(&keys, wait, request.cgroup);
        }
    }

    /// Sees an operation that has not ended: again, or for the first time since it is shown.
    fn see(&mut self, keys: &[Key], wait: Wait, cgroup: Option<u64>) {
        if wait.age() < self.options.blocked_after || self.waits.see(keys, &wait) {
            return;
        }
        let caller = wait.caller.as_ref();
        let subject = Subject {
            pid: caller.map_or(0, |caller| caller.pid),
            comm: caller.map_or("", |caller| &caller.comm),
            is_in_group: cgroup.map(|group| self.groups.contains(&group)),
            operation: wait.operation,
            errno: None,
            latency: Some(wait.age()),
        };
        if self.matcher.admits_unended(&subject)
            && let Some(key) = keys.first()
        {
            self.show(&wait, State::Blocked, false);
            self.waits.add(*key, wait);
        }
    }

    fn show(&mut self, wait: &Wait, state: State, was_blocked: bool) {
        let Some((dev, place)) = self.places.get(wait.place) else {
            return;
        };
        let line = OperationLine {
            state,
            at: self.now.wall,
            caller: wait.caller.clone(),
            dev,
            place: Arc::clone(place),
            operation: wait.operation,
            waits_in: wait.waits_in.clone(),
            file: wait.nodeid.map(File::Node),
            unique: wait.unique,
            errno: None,
            latency_ns: Some(nanos(wait.age())),
            is_at_least: wait.is_at_least || state == State::Gone,
            was_blocked,
        };
        self.lines.push(Line::Operation(Box::new(line)));
    }

    fn note_losses(&mut self, health: &KernelHealth) {
        if self.is_over() {
            return;
        }
        for (counter, what) in LOSSES {
            let mut counters = health.counters.iter();
            let Some((_, total)) = counters.find(|(name, _)| *name == counter) else {
                continue;
            };
            let known = self.lost.entry(what).or_default();
            let count = total.saturating_sub(*known);
            *known = (*known).max(*total);
            if count > 0 && !NO_NEWS.contains(&what) {
                self.lines.push(Line::Lost(Lost {
                    at: self.now.wall,
                    what,
                    count,
                    total: self.since_begun(what, *total),
                }));
            }
        }
    }
}

fn ended_line(
    now: Now,
    (dev, place): (Dev, Arc<Place>),
    traced: &Traced,
    was_blocked: bool,
) -> OperationLine {
    let ended = &traced.ended;
    OperationLine {
        state: match ended.errno {
            Some(_) => State::Failed,
            None => State::Ok,
        },
        at: now.wall_of(ended.at),
        caller: caller(ended),
        dev,
        place,
        operation: Some(ended.operation),
        waits_in: None,
        file: file(traced),
        unique: traced.unique,
        errno: ended.errno,
        latency_ns: ended.latency.map(nanos),
        is_at_least: false,
        was_blocked,
    }
}

/// Whoever asked; what the kernel does on its own behalf, nobody did.
fn caller(ended: &Ended) -> Option<Caller> {
    (ended.caller.pid != 0).then(|| ended.caller.clone())
}

fn file(traced: &Traced) -> Option<File> {
    if let Some(argument) = &traced.ended.path {
        return Some(File::Path(argument.path.clone())).filter(|_| !argument.path.is_empty());
    }
    match (&traced.name, traced.nodeid) {
        (Some(name), parent) => Some(File::Name {
            parent,
            name: name.clone(),
        }),
        (None, nodeid) => nodeid.map(File::Node),
    }
}
