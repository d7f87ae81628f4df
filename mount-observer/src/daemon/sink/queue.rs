//! The bounded queue before a sink that is told of each event once, and the thread behind it.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::{Deliver, Failure, counters::Counters};
use crate::{
    daemon::{clock, confine},
    notify::Notice,
    time::Mono,
};

/// Notices that wait for one sink; at some 4 KiB each, 1 MiB. At the bound the oldest goes: how it
/// ended matters more than how it began.
pub(super) const QUEUE_MAX: usize = 256;
/// The first pause after a failure; each that follows is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest.
pub(super) const PAUSE_MAX: Duration = Duration::from_mins(1);

/// The sending end and the thread's end are the same: a short list behind a lock nobody keeps.
#[derive(Debug)]
pub(super) struct Queue {
    sink: String,
    counters: Arc<Counters>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    next: u64,
    is_closed: bool,
}

#[derive(Clone, Debug)]
struct Waiting {
    number: u64,
    since: Mono,
    notice: Arc<Notice>,
}

impl Queue {
    /// Starts the thread that delivers.
    pub(super) fn start(
        sink: &str,
        counters: Arc<Counters>,
        give_up_after: Duration,
        deliver: Box<dyn Deliver>,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            sink: sink.to_owned(),
            counters,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let behind = Arc::clone(&queue);
        thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                // Without, it only keeps more than it uses.
                confine::give_up_capabilities().ok();
                behind.deliver_all(deliver, give_up_after);
            })?;
        Ok(queue)
    }

    /// Adds a notice; at the bound the oldest is dropped, and counted.
    pub(super) fn add(&self, notice: Arc<Notice>) {
        let mut state = self.lock();
        if state.waiting.len() >= QUEUE_MAX {
            state.waiting.pop_front();
            self.counters.dropped(&self.sink);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push_back(Waiting {
            number,
            since: clock::now().mono,
            notice,
        });
        drop(state);
        self.changed.notify_all();
    }

    /// Has the thread end once nothing waits, or after the attempt it makes.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until nothing waits, for so long at most. Says whether that is so.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| !state.waiting.is_empty());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting.is_empty()
    }

    fn deliver_all(&self, mut deliver: Box<dyn Deliver>, give_up_after: Duration) {
        let mut pause = PAUSE_MIN;
        while let Some(first) = self.first() {
            let result = deliver.deliver(&first.notice);
            self.counters.attempted(&self.sink, &result);
            if !matches!(result, Err(Failure::Retry(_))) {
                self.done(first.number);
                pause = PAUSE_MIN;
                continue;
            }
            self.give_up(give_up_after);
            if !self.rest(pause) {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits for something to deliver; `None` once closed.
    fn first(&self) -> Option<Waiting> {
        let state = self.lock();
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let state = self.changed.wait_while(state, is_idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.waiting.front().cloned()
    }

    /// Takes it from the queue, unless it was dropped meanwhile.
    fn done(&self, number: u64) {
        self.lock()
            .waiting
            .retain(|waiting| waiting.number != number);
        self.changed.notify_all();
    }

    /// Forgets all that has waited too long: what could not be tried behind the first, too.
    fn give_up(&self, after: Duration) {
        let now = clock::now().mono;
        let mut given_up = 0;
        self.lock().waiting.retain(|waiting| {
            let is_old = now.since(waiting.since) >= after;
            given_up += u64::from(is_old);
            !is_old
        });
        self.counters.expired(&self.sink, given_up);
        self.changed.notify_all();
    }

    /// `false` when closed.
    fn rest(&self, pause: Duration) -> bool {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, pause, |state| !state.is_closed);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;
    use crate::{notify::Origin, render::fixture, time::Wall};

    /// A receiver that answers what it is told to, and says what it got.
    struct Scripted {
        answers: Receiver<Result<(), Failure>>,
        got: SyncSender<Wall>,
    }

    impl Deliver for Scripted {
        fn deliver(&mut self, notice: &Notice) -> Result<(), Failure> {
            self.got.send(notice.at).ok();
            self.answers.recv().unwrap_or(Ok(()))
        }
    }

    fn notice(number: u64) -> Arc<Notice> {
        let transition = fixture::transition();
        Arc::new(Notice::new(
            &Origin::default(),
            Wall(number),
            "",
            &transition,
        ))
    }

    struct Rig {
        queue: Arc<Queue>,
        counters: Arc<Counters>,
        answer: SyncSender<Result<(), Failure>>,
        got: Receiver<Wall>,
    }

    fn rig(give_up_after: Duration) -> Rig {
        let (answer, answers) = sync_channel(8);
        let (sender, got) = sync_channel(QUEUE_MAX * 2);
        let deliver = Box::new(Scripted {
            answers,
            got: sender,
        });
        let counters = Arc::new(Counters::default());
        Rig {
            queue: Queue::start("s", Arc::clone(&counters), give_up_after, deliver).unwrap(),
            counters,
            answer,
            got,
        }
    }

    fn counted(rig: &Rig) -> Vec<u64> {
        let counts = rig.counters.report("s");
        let outcomes = counts.outcomes.iter().map(|&(_, count)| count);
        outcomes.chain([counts.dropped]).collect()
    }

    #[test]
    fn what_fails_is_tried_again_in_order_and_what_is_refused_is_not() {
        let rig = rig(Duration::from_hours(1));
        for answer in [
            Err(Failure::Retry("down".to_owned())),
            Ok(()),
            Err(Failure::Refused("no".to_owned())),
            Ok(()),
        ] {
            rig.answer.send(answer).unwrap();
        }
        for number in 1..=3 {
            rig.queue.add(notice(number));
        }
        assert!(rig.queue.drain(Duration::from_mins(1)));
        let got: Vec<u64> = rig.got.try_iter().map(|at| at.0).collect();
        assert_eq!(got, [1, 1, 2, 3]);
        assert_eq!(counted(&rig), [2, 1, 1, 0, 0]);
    }

    #[test]
    fn a_sink_that_hangs_costs_the_oldest_and_never_time() {
        let rig = rig(Duration::from_hours(1));
        let number_max = u64::try_from(QUEUE_MAX).unwrap() + 10;
        rig.queue.add(notice(0));
        rig.got.recv().unwrap();
        for number in 1..=number_max {
            rig.queue.add(notice(number));
        }
        assert_eq!(counted(&rig), [0, 0, 0, 0, 11]);
        drop(rig.answer);
        assert!(rig.queue.drain(Duration::from_mins(1)));
        let got: Vec<u64> = rig.got.try_iter().map(|at| at.0).collect();
        assert_eq!(got, (11..=number_max).collect::<Vec<_>>());
    }

    #[test]
    fn one_failure_gives_up_all_that_is_too_old() {
        let rig = rig(Duration::ZERO);
        for number in 1..=3 {
            rig.queue.add(notice(number));
        }
        rig.answer
            .send(Err(Failure::Retry("down".to_owned())))
            .unwrap();
        assert!(rig.queue.drain(Duration::from_mins(1)));
        assert_eq!(counted(&rig), [0, 1, 0, 3, 0]);
    }

    #[test]
    fn closing_ends_a_pause() {
        let rig = rig(Duration::from_hours(1));
        rig.queue.add(notice(1));
        rig.got.recv().unwrap();
        rig.queue.close();
        rig.answer
            .send(Err(Failure::Retry("down".to_owned())))
            .unwrap();
        // The thread is gone, and with it the receiver it told.
        while rig.got.recv().is_ok() {}
        assert!(!rig.queue.drain(Duration::ZERO));
    }
}
