//! The end of a connection, and when it is sure that it was no unmount.

use std::time::Duration;

use mount_observer_common::AbortCause;

use super::Connection;
use crate::{decode::Abort, time::Mono};

/// How long a disconnect waits for a mount table to say whether it was an unmount. Longer than the
/// shell takes for a round over all namespaces.
const CONFIRM_WITHIN: Duration = Duration::from_millis(2500);

/// How long a table that still shows the mount proves nothing where the connection may have been
/// aborted in order to unmount it: `umount -f` aborts first (`do_umount`, `fs/namespace.c`, v6.18).
const FORCED_UNMOUNT_TAKES: Duration = Duration::from_millis(200);

/// Time between the two scans that must find no holder: while a mount is made, its descriptor may
/// be on its way through a socket, and a fork may hide a holder from one scan.
const NO_HOLDER_GAP: Duration = Duration::from_secs(1);

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// When it was first known.
    pub since: Mono,
    /// How.
    pub how: Cause,
    /// Whether the superblock was still mounted afterwards.
    pub is_confirmed: bool,
    /// When a mount table had shown its number afterwards, which may be its successor's by then.
    shown_at: Option<Mono>,
}

impl Death {
    /// Whether tables have nothing to add.
    const fn is_shown(self) -> bool {
        self.is_confirmed || self.shown_at.is_some()
    }
}

/// How the end of a connection is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The kernel says that it is disconnected.
    Disconnected,
    /// Nobody holds its descriptor.
    NobodyHolds,
    /// The kernel was seen to begin to abort it; nothing has read it since.
    Aborted,
}

/// What a mount table that shows the superblock says about its connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It settles that this was no unmount.
    Settled,
    /// That was known.
    Known,
    /// It shows this one, or another that has got its number since: a look at who holds connections tells.
    Unclear,
    /// Nothing: it was read before the end.
    TooEarly,
}

impl Connection {
    /// The kernel began to abort it. Only a reading settles that it was this connection and no past
    /// one of the same number; an unmount's number is its own until it is over.
    pub fn observe_abort(&mut self, abort: Abort) {
        let is_late = self.death.is_some_and(|death| death.since < abort.at);
        if self.abort.is_none() && !is_late || self.death.is_none() {
            self.abort = Some(abort);
        }
    }

    /// The kernel began to abort it, and nothing can read it now: that has to settle it, because an
    /// abort of a live connection never fails.
    pub fn observe_unread_abort(&mut self, now: Mono, abort: Abort) {
        self.observe_abort(abort);
        if self.death.is_none() {
            self.die(now, Cause::Aborted);
        }
    }

    /// Whether what was only seen to be aborted would have to be gone by now.
    pub(super) fn outlives_abort(&self, now: Mono) -> bool {
        let is_aborted = self.death.is_some_and(|death| death.how == Cause::Aborted);
        is_aborted
            && self
                .abort
                .as_ref()
                .is_none_or(|abort| abort.is_refuted_at(now))
    }

    /// Whether it ended in a way that leaves its server alone, whoever that is.
    pub(super) fn is_server_spared(&self) -> bool {
        let is_held = self
            .death
            .is_some_and(|death| death.how != Cause::NobodyHolds);
        let abort = self.abort.as_ref().filter(|_| is_held);
        abort.is_some_and(|abort| match abort.cause {
            AbortCause::Unknown
            | AbortCause::Fusectl
            | AbortCause::ForcedUnmount
            | AbortCause::Timeout => true,
            AbortCause::ServerExit | AbortCause::Unmount => false,
        })
    }

    /// How it was aborted, where that was seen.
    pub fn abort(&self) -> Option<&Abort> {
        self.abort.as_ref()
    }

    /// Whether its last unmount is over for a table read then: what that shows is its successor.
    pub fn is_unmounted_at(&self, read_at: Mono) -> bool {
        let unmount = self.abort.as_ref().filter(|abort| abort.is_unmount());
        unmount.is_some_and(|unmount| read_at >= unmount.at)
    }

    pub(super) fn die(&mut self, now: Mono, how: Cause) {
        let seen = self.abort.as_ref().map_or(now, |abort| abort.at.min(now));
        let known = self.death;
        // That it is read now as it was seen to become settles nothing anew.
        let known_aborted = known.filter(|death| death.how == Cause::Aborted);
        self.death = Some(Death {
            since: known.map_or(seen, |death| death.since),
            how,
            is_confirmed: known_aborted.is_some_and(|death| death.is_confirmed),
            shown_at: None,
        });
    }

    /// Judges what scans without a holder mean. Only where every process is in sight.
    pub fn judge_absence(&mut self, now: Mono, is_single_look: bool) {
        let Some(since) = self.absent_since else {
            return;
        };
        let has_exited =
            !self.servers.is_empty() && self.servers.values().all(|s| s.exit.is_some());
        let is_lasting =
            self.absent_scans >= 2 && (is_single_look || now.since(since) >= NO_HOLDER_GAP);
        if self.death.is_none() && (has_exited || is_lasting) {
            self.die(now, Cause::NobodyHolds);
        }
    }

    /// A mount table whose reading began at `read_at`, and is over, still shows the superblock.
    pub fn confirm_death(&mut self, now: Mono, read_at: Mono) -> Confirmation {
        let patience = self.unmount_patience();
        let may_be_unmount = self.may_be_unmount();
        match &mut self.death {
            Some(death) if death.is_shown() => Confirmation::Known,
            Some(death) if read_at >= death.since && read_at.since(death.since) >= patience => {
                if may_be_unmount {
                    death.shown_at = Some(now);
                    return Confirmation::Unclear;
                }
                death.is_confirmed = true;
                Confirmation::Settled
            }
            Some(_) | None => Confirmation::TooEarly,
        }
    }

    /// A complete scan that began at `begun` found no living connection with the number. Says whether
    /// that settles the end: whoever is mounted there, as a table had shown, is not served by another.
    pub fn observe_no_successor(&mut self, begun: Mono) -> bool {
        let Some(death) = self.death.as_mut().filter(|death| !death.is_confirmed) else {
            return false;
        };
        death.is_confirmed = death.shown_at.is_some_and(|shown| begun >= shown);
        death.is_confirmed
    }

    /// Whether the end may be that of an unmount, after which the number is another's at once, under
    /// the same mount id: nobody saw how it was aborted, and no server fell. One whose filesystem was
    /// unmounted ends well.
    fn may_be_unmount(&self) -> bool {
        let exits = self.servers.values().filter_map(|server| server.exit);
        let has_fallen = exits.clone().any(|exit| exit.status != 0);
        self.abort.is_none() && !has_fallen
    }

    /// How long after the end an unmount may still be under way.
    fn unmount_patience(&self) -> Duration {
        let mut servers = self.servers.values();
        let has_exited = servers.clone().any(|server| server.exit.is_some());
        let is_served = !has_exited && servers.any(|server| server.is_holding);
        let may_be_forced = match self.abort.as_ref().map(|abort| abort.cause) {
            Some(AbortCause::ForcedUnmount) => true,
            Some(AbortCause::Unknown) => is_served || self.servers.is_empty(),
            None => is_served,
            Some(
                AbortCause::ServerExit
                | AbortCause::Fusectl
                | AbortCause::Timeout
                | AbortCause::Unmount,
            ) => false,
        };
        if may_be_forced {
            FORCED_UNMOUNT_TAKES
        } else {
            Duration::ZERO
        }
    }

    /// Whether a table read now could settle what one read before could not.
    pub fn awaits_table(&self, now: Mono) -> bool {
        self.death.is_some_and(|death| {
            !death.is_shown() && now.since(death.since) >= self.unmount_patience()
        })
    }

    /// The connection's end, once it is sure that it was not an unmount.
    pub fn death(&self, now: Mono, is_single_look: bool) -> Option<Death> {
        let is_unmount = self.abort.as_ref().is_some_and(Abort::is_unmount);
        self.death.filter(|death| {
            let is_old = now.since(death.since) >= CONFIRM_WITHIN;
            !is_unmount && (death.is_confirmed || is_single_look || is_old)
        })
    }

    /// Whether it ended, sure or not.
    pub fn is_dying(&self) -> bool {
        self.death.is_some() || self.is_unmounting()
    }

    /// Whether its last unmount ended it.
    pub fn is_unmounting(&self) -> bool {
        self.abort.as_ref().is_some_and(Abort::is_unmount)
    }
}
