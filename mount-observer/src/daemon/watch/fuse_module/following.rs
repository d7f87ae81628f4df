//! When programs go on FUSE and off it again, where it is a module: decided from what each beat shows
//! of it.

use std::time::Duration;

use crate::{daemon::facts::fuse::Loaded, time::Mono};

/// How long nobody else uses the module before we let go.
const IDLE: Duration = Duration::from_secs(10);

/// The longest that becomes where letting go turned out to be wrong.
const IDLE_MAX: Duration = Duration::from_hours(1);

/// How long it may take until programs that let go no longer hold the module: their trampolines are
/// freed once no task can be in them (`bpf_tramp_image_put`, `kernel/bpf/trampoline.c`).
const SETTLING: Duration = Duration::from_secs(5);

/// What a beat shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The module, when it is loaded.
    pub(super) module: Option<Loaded>,
    /// Whether some mount table shows a FUSE mount.
    pub(super) has_mounts: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Nothing,
    /// Put programs on this module.
    Start(Loaded),
    /// Take them off, for this reason.
    LetGo(&'static str),
}

/// How things stand with the module that was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is not loaded.
    Gone,
    /// There are programs on it, or there can be none.
    On {
        /// How often they hold it. Where they do not, they are in nobody's way.
        ours: u32,
        /// Since when nobody else does.
        idle_since: Option<Mono>,
    },
    /// They let go.
    Off {
        since: Mono,
        /// Who held it when last looked at; nobody knows before the first look.
        users: Option<u32>,
    },
}

/// Follows the module.
#[derive(Debug)]
pub(super) struct Following {
    /// The module that programs were last put on; 0 for none.
    identity: u64,
    stage: Stage,
    patience: Duration,
}

impl Following {
    /// Programs are on this module, and hold it that often; or it was not there.
    pub(super) fn new(module: Option<Loaded>, ours: u32) -> Self {
        let on = Stage::On {
            ours,
            idle_since: None,
        };
        Self {
            identity: module.map_or(0, |module| module.identity),
            stage: module.map_or(Stage::Gone, |_| on),
            patience: IDLE,
        }
    }

    /// What to do now. Not asked while programs are being loaded.
    pub(super) fn look(&mut self, now: Mono, seen: Seen) -> Step {
        let Some(module) = seen.module else {
            let before = std::mem::replace(&mut self.stage, Stage::Gone);
            return if before == Stage::Gone {
                Step::Nothing
            } else {
                Step::LetGo("FUSE is not loaded: nothing to see until it is")
            };
        };
        if module.identity != self.identity {
            return self.start(module, IDLE);
        }
        match self.stage {
            Stage::Gone => self.start(module, IDLE),
            Stage::On { ours, idle_since } => self.while_on(now, seen, ours, idle_since),
            Stage::Off { since, users } => self.while_off(now, seen, since, users),
        }
    }

    /// Programs were put on the module, and hold it that often; 0 when none could be.
    pub(super) fn started(&mut self, ours: u32) {
        self.stage = Stage::On {
            ours,
            idle_since: None,
        };
    }

    fn start(&mut self, module: Loaded, patience: Duration) -> Step {
        // Not again for the same module where this fails.
        self.identity = module.identity;
        self.patience = patience;
        self.started(0);
        Step::Start(module)
    }

    /// A mount uses the module, whatever the count says: ours might be taken for too many.
    fn while_on(&mut self, now: Mono, seen: Seen, ours: u32, idle_since: Option<Mono>) -> Step {
        let users = seen.module.and_then(|module| module.users);
        let is_idle = ours > 0 && users.is_some_and(|users| users <= ours) && !seen.has_mounts;
        let since = is_idle.then(|| idle_since.unwrap_or(now));
        if since.is_some_and(|since| now.since(since) >= self.patience) {
            self.stage = Stage::Off {
                since: now,
                users: None,
            };
            return Step::LetGo("nobody uses FUSE: its module may be unloaded meanwhile");
        }
        self.stage = Stage::On {
            ours,
            idle_since: since,
        };
        Step::Nothing
    }

    /// Whoever comes is waited for. Who was there all the time was taken for one of us: next time that
    /// is looked into for longer.
    fn while_off(&mut self, now: Mono, seen: Seen, since: Mono, before: Option<u32>) -> Step {
        let Some(module) = seen.module else {
            return Step::Nothing;
        };
        let users = module.users.unwrap_or(1);
        let has_come = before.is_some_and(|before| users > before);
        if seen.has_mounts || has_come {
            return self.start(module, IDLE);
        }
        if users > 0 && now.since(since) >= SETTLING {
            return self.start(module, (self.patience * 2).min(IDLE_MAX));
        }
        self.stage = Stage::Off {
            since,
            users: Some(users),
        };
        Step::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often programs hold the module here.
    const OURS: u32 = 6;

    fn module(identity: u64, users: u32) -> Loaded {
        Loaded {
            identity,
            users: Some(users),
        }
    }

    /// A beat at this time, in ms, without a FUSE mount.
    fn beat(following: &mut Following, ms: u64, module: Option<Loaded>) -> Step {
        let seen = Seen {
            module,
            has_mounts: false,
        };
        following.look(Mono(ms * 1_000_000), seen)
    }

    fn mounted(following: &mut Following, ms: u64, users: u32) -> Step {
        let seen = Seen {
            module: Some(module(1, users)),
            has_mounts: true,
        };
        following.look(Mono(ms * 1_000_000), seen)
    }

    fn on() -> Following {
        Following::new(Some(module(1, OURS)), OURS)
    }

    /// Let go at 10 s.
    fn off() -> Following {
        let mut following = on();
        assert_eq!(
            beat(&mut following, 0, Some(module(1, OURS))),
            Step::Nothing
        );
        let step = beat(&mut following, 10_000, Some(module(1, OURS)));
        assert!(matches!(step, Step::LetGo(_)));
        following
    }

    #[test]
    fn a_module_that_comes_is_followed_and_one_that_goes_is_let_go_once() {
        let mut following = Following::new(None, 0);
        assert_eq!(beat(&mut following, 0, None), Step::Nothing);
        let loaded = module(1, 0);
        assert_eq!(beat(&mut following, 1, Some(loaded)), Step::Start(loaded));
        following.started(OURS);
        assert!(matches!(beat(&mut following, 2, None), Step::LetGo(_)));
        assert_eq!(beat(&mut following, 3, None), Step::Nothing);
        let again = module(2, 0);
        assert_eq!(beat(&mut following, 4, Some(again)), Step::Start(again));
    }

    #[test]
    fn what_cannot_be_attached_is_not_tried_again_until_another_module_comes() {
        let mut following = Following::new(None, 0);
        let used = module(1, 3);
        assert_eq!(beat(&mut following, 0, Some(used)), Step::Start(used));
        following.started(0);
        for ms in [100, 200, 60_000] {
            assert_eq!(beat(&mut following, ms, Some(used)), Step::Nothing);
        }
        let other = module(2, 0);
        assert_eq!(
            beat(&mut following, 60_100, Some(other)),
            Step::Start(other)
        );
    }

    #[test]
    fn an_idle_module_is_let_go_and_one_that_is_used_is_not() {
        let mut following = on();
        assert_eq!(
            beat(&mut following, 0, Some(module(1, OURS))),
            Step::Nothing
        );
        let used = module(1, OURS + 1);
        assert_eq!(beat(&mut following, 9_000, Some(used)), Step::Nothing);
        let free = Some(module(1, OURS));
        assert_eq!(beat(&mut following, 10_000, free), Step::Nothing);
        assert_eq!(beat(&mut following, 19_900, free), Step::Nothing);
        assert!(matches!(beat(&mut following, 20_000, free), Step::LetGo(_)));
        let kept = Loaded {
            identity: 1,
            users: None,
        };
        let mut following = on();
        for ms in [0, 60_000] {
            assert_eq!(beat(&mut following, ms, Some(kept)), Step::Nothing);
        }
    }

    #[test]
    fn a_mount_is_never_let_go_whoever_counts_too_many() {
        let mut following = on();
        for ms in [0, 10_000, 60_000] {
            assert_eq!(mounted(&mut following, ms, OURS), Step::Nothing);
        }
        // Idle begins when it is unmounted.
        let free = Some(module(1, OURS));
        assert_eq!(beat(&mut following, 60_100, free), Step::Nothing);
        assert_eq!(beat(&mut following, 70_000, free), Step::Nothing);
        assert!(matches!(beat(&mut following, 70_100, free), Step::LetGo(_)));
    }

    #[test]
    fn whoever_comes_after_letting_go_is_looked_at() {
        let mut following = off();
        // Its own programs leave one after the other.
        for (ms, users) in [(10_100, OURS), (10_200, 2), (10_300, 0), (20_000, 0)] {
            assert_eq!(
                beat(&mut following, ms, Some(module(1, users))),
                Step::Nothing
            );
        }
        let used = module(1, 1);
        assert_eq!(beat(&mut following, 20_100, Some(used)), Step::Start(used));

        let mut following = off();
        assert_eq!(
            beat(&mut following, 10_100, Some(module(1, 2))),
            Step::Nothing
        );
        let used = module(1, 3);
        assert_eq!(beat(&mut following, 10_200, Some(used)), Step::Start(used));
    }

    #[test]
    fn a_mount_that_appears_after_letting_go_is_looked_at_whatever_the_count() {
        let mut following = off();
        assert_eq!(
            mounted(&mut following, 10_100, OURS),
            Step::Start(module(1, OURS))
        );
    }

    #[test]
    fn who_was_taken_for_one_of_us_is_found_and_let_go_more_slowly() {
        let mut following = off();
        let other = module(1, 1);
        assert_eq!(beat(&mut following, 14_900, Some(other)), Step::Nothing);
        assert_eq!(
            beat(&mut following, 15_000, Some(other)),
            Step::Start(other)
        );
        following.started(OURS);
        let free = Some(module(1, OURS));
        assert_eq!(beat(&mut following, 16_000, free), Step::Nothing);
        assert_eq!(beat(&mut following, 35_900, free), Step::Nothing);
        assert!(matches!(beat(&mut following, 36_000, free), Step::LetGo(_)));
    }
}
