//! Between [`Input`] and [`Wire`]. Each direction is one exhaustive match: a new input cannot be
//! forgotten.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    Said,
    layout::{self, IN_FLIGHT_ROW, TOTALS_ROW},
    names::known,
    wire::{self, Rows, Wire},
};
use crate::{
    input::{
        ConnectionCheck, ConnectionState, Input, KernelHealth, Links, ProbeHealth, Scan,
        TotalsReading, WaitFunction,
    },
    superblock::Dev,
    time::Mono,
};

/// What was written last, so that only what differs has to be written; one for each segment.
#[derive(Debug, Default)]
pub(super) struct Written {
    totals: Option<TotalsReading>,
    health: Option<KernelHealth>,
    tables: BTreeMap<u32, Vec<u8>>,
}

impl Written {
    /// As it is to be written.
    pub(super) fn wire<'a>(&mut self, said: &'a Said) -> Wire<'a> {
        match said {
            Said::Input(input) => self.input(input),
            Said::Reconfigure(decisive) => Wire::Reconfigure(decisive.clone()),
            Said::Lost(count) => Wire::Lost(*count),
        }
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each kind of input")]
    fn input<'a>(&mut self, input: &'a Input) -> Wire<'a> {
        match input {
            Input::Record(bytes) => Wire::Record(Cow::Borrowed(bytes)),
            Input::Totals(reading) => self.totals(reading),
            Input::InFlight(reading) => Wire::InFlight(Rows {
                row: row_size(IN_FLIGHT_ROW),
                bytes: layout::in_flight_rows(reading).into(),
            }),
            Input::Holders(scan) => Wire::Holders(scan_wire(scan)),
            Input::Tasks { scan, is_full } => Wire::Tasks {
                scan: scan_wire(scan),
                is_full: *is_full,
            },
            Input::ShadowWrites(counts) => Wire::ShadowWrites(counts.clone()),
            Input::Files { scan, superblocks } => Wire::Files {
                scan: scan_wire(scan),
                superblocks: superblocks.iter().map(|dev| dev.0).collect(),
            },
            Input::Connection(check) => Wire::Connection {
                dev: check.dev.0,
                state: check.state.map(|state| wire::ConnectionState {
                    is_connected: state.is_connected,
                    waiting: state.waiting,
                }),
            },
            Input::Mountinfo {
                mnt_ns,
                is_own,
                read_at,
                bytes,
            } => Wire::Mountinfo {
                mnt_ns: *mnt_ns,
                is_own: *is_own,
                read_at: read_at.0,
                bytes: self.table(*mnt_ns, bytes).map(Cow::Borrowed),
            },
            Input::Namespaces(existing) => {
                self.tables.retain(|mnt_ns, _| existing.contains(mnt_ns));
                Wire::Namespaces(existing.clone())
            }
            Input::Waiting(all) => {
                Wire::Waiting(all.iter().map(|(dev, waiting)| (dev.0, *waiting)).collect())
            }
            Input::WaitFunctions(functions) => {
                let one =
                    |function: &WaitFunction| (function.start, function.end, function.name.clone());
                Wire::WaitFunctions(functions.iter().map(one).collect())
            }
            Input::Names(names) => Wire::Names(names.clone()),
            Input::TraceGroups(groups) => Wire::TraceGroups(groups.clone()),
            Input::Links(links) => Wire::Links {
                tid: links.tid,
                dfd: links.dfd,
                root: links.root.as_deref().map(Cow::Borrowed),
                base: links.base.as_deref().map(Cow::Borrowed),
            },
            Input::Units(answers) => Wire::Units(
                answers
                    .iter()
                    .map(|(pid, cgroups)| wire::Unit {
                        pid: *pid,
                        cgroups: cgroups.as_deref().map(Cow::Borrowed),
                    })
                    .collect(),
            ),
            Input::Health(health) => Wire::Health(self.health(health)),
            Input::Unseen { what, count } => Wire::Unseen {
                what: (*what).to_owned(),
                count: *count,
            },
            Input::Layout { is_described } => Wire::Layout {
                is_described: *is_described,
            },
            Input::RecoveryEnabled(is_enabled) => Wire::RecoveryEnabled(*is_enabled),
            Input::RecoveryRuns(runs) => Wire::RecoveryRuns(runs.clone()),
            Input::RecoveryDone {
                run,
                outcome,
                detail,
            } => Wire::RecoveryDone {
                run: run.clone(),
                outcome: *outcome,
                detail: detail.clone(),
            },
            Input::Remembered(incidents) => Wire::Remembered(incidents.clone()),
            Input::Sysctls(sysctls) => Wire::Sysctls(sysctls.clone()),
            Input::Trouble { part, what } => Wire::Trouble {
                part: (*part).to_owned(),
                what: what.clone(),
            },
            Input::Tick => Wire::Tick,
        }
    }

    fn totals(&mut self, reading: &TotalsReading) -> Wire<'static> {
        let row = row_size(TOTALS_ROW);
        let last = self.totals.replace(reading.clone());
        let last = last.filter(|last| {
            let same_keys = last.iter().zip(reading).all(|(last, now)| last.0 == now.0);
            last.len() == reading.len() && same_keys
        });
        let Some(last) = last else {
            let bytes = layout::totals_rows(reading.iter()).into();
            return Wire::Totals(Rows { row, bytes });
        };
        let changed = (0_u32..).zip(last.iter().zip(reading));
        let changed = changed.filter(|(_, (last, now))| last != now);
        let changed: Vec<_> = changed.map(|(place, (_, now))| (place, now)).collect();
        Wire::TotalsChanged {
            places: changed.iter().map(|(place, _)| *place).collect(),
            rows: Rows {
                row,
                bytes: layout::totals_rows(changed.iter().map(|(_, now)| *now)).into(),
            },
        }
    }

    /// The table, unless it is as it was.
    fn table<'a>(&mut self, mnt_ns: u32, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.tables.get(&mnt_ns).is_some_and(|last| last == bytes) {
            return None;
        }
        self.tables.insert(mnt_ns, bytes.to_vec());
        Some(bytes)
    }

    fn health(&mut self, health: &KernelHealth) -> wire::Health {
        let last = self.health.replace(health.clone());
        let mut wire = wire::Health::default();
        let names = |health: &KernelHealth| -> Vec<&str> {
            health.counters.iter().map(|(name, _)| *name).collect()
        };
        if let Some(last) = last.as_ref().filter(|last| names(last) == names(health)) {
            let pairs = (0_u32..).zip(last.counters.iter().zip(&health.counters));
            let changed = pairs.filter(|(_, (last, now))| last != now);
            wire.changed = changed.map(|(place, (_, now))| (place, now.1)).collect();
        } else {
            let all = health.counters.iter();
            let all = all.map(|(name, count)| ((*name).to_owned(), *count));
            wire.counters = Some(all.collect());
        }
        if last.as_ref().is_none_or(|last| last.maps != health.maps) {
            let maps = health.maps.iter();
            let maps = maps.map(|(name, used, limit)| ((*name).to_owned(), *used, *limit));
            wire.maps = Some(maps.collect());
        }
        if last.is_none_or(|last| last.probes != health.probes) {
            wire.probes = Some(health.probes.iter().map(probe_wire).collect());
        }
        wire
    }
}

/// What was read last, for what was only written where it differed.
#[derive(Debug, Default)]
pub(super) struct Read {
    totals: TotalsReading,
    health: KernelHealth,
    tables: BTreeMap<u32, Vec<u8>>,
    /// Whether the kernel side's types were of other sizes.
    is_of_another_layout: bool,
}

impl Read {
    /// Of a segment that begins.
    pub(super) fn new(is_of_another_layout: bool) -> Self {
        Self {
            is_of_another_layout,
            ..Self::default()
        }
    }

    /// As it was; `None` for what cannot be.
    #[expect(clippy::too_many_lines, reason = "an arm for each kind of input")]
    pub(super) fn said(&mut self, wire: Wire<'_>) -> Option<Said> {
        Some(Said::Input(match wire {
            Wire::Reconfigure(decisive) => return Some(Said::Reconfigure(decisive)),
            Wire::Lost(count) => return Some(Said::Lost(count)),
            Wire::Record(bytes) if self.is_of_another_layout => {
                Input::Record(layout::widened_record(bytes.into_owned()))
            }
            Wire::Record(bytes) => Input::Record(bytes.into_owned()),
            Wire::Totals(rows) => {
                self.totals = layout::totals(&rows.bytes, rows.row)?;
                Input::Totals(self.totals.clone())
            }
            Wire::TotalsChanged { places, rows } => {
                for (place, now) in places.iter().zip(layout::totals(&rows.bytes, rows.row)?) {
                    *self.totals.get_mut(usize::try_from(*place).ok()?)? = now;
                }
                Input::Totals(self.totals.clone())
            }
            Wire::InFlight(rows) => Input::InFlight(layout::in_flight(&rows.bytes, rows.row)?),
            Wire::Holders(scan) => Input::Holders(self.scan(scan)),
            Wire::Tasks { scan, is_full } => Input::Tasks {
                scan: self.scan(scan),
                is_full,
            },
            Wire::ShadowWrites(counts) => Input::ShadowWrites(counts),
            Wire::Files { scan, superblocks } => Input::Files {
                scan: self.scan(scan),
                superblocks: superblocks.into_iter().map(Dev).collect(),
            },
            Wire::Connection { dev, state } => Input::Connection(ConnectionCheck {
                dev: Dev(dev),
                state: state.map(|state| ConnectionState {
                    is_connected: state.is_connected,
                    waiting: state.waiting,
                }),
            }),
            Wire::Mountinfo {
                mnt_ns,
                is_own,
                read_at,
                bytes,
            } => Input::Mountinfo {
                mnt_ns,
                is_own,
                read_at: Mono(read_at),
                bytes: self.table(mnt_ns, bytes)?,
            },
            Wire::Namespaces(existing) => {
                self.tables.retain(|mnt_ns, _| existing.contains(mnt_ns));
                Input::Namespaces(existing)
            }
            Wire::Waiting(all) => {
                let all = all.into_iter();
                Input::Waiting(all.map(|(dev, waiting)| (Dev(dev), waiting)).collect())
            }
            Wire::WaitFunctions(functions) => {
                let functions = functions.into_iter();
                let one = |(start, end, name)| WaitFunction { start, end, name };
                Input::WaitFunctions(functions.map(one).collect())
            }
            Wire::Names(names) => Input::Names(names),
            Wire::Units(answers) => {
                let answers = answers.into_iter();
                let one = |unit: wire::Unit<'_>| (unit.pid, unit.cgroups.map(Cow::into_owned));
                Input::Units(answers.map(one).collect())
            }
            Wire::TraceGroups(groups) => Input::TraceGroups(groups),
            Wire::Links {
                tid,
                dfd,
                root,
                base,
            } => Input::Links(Links {
                tid,
                dfd,
                root: root.map(Cow::into_owned),
                base: base.map(Cow::into_owned),
            }),
            Wire::Health(health) => Input::Health(self.health(health)?),
            Wire::Unseen { what, count } => Input::Unseen {
                what: known(&what),
                count,
            },
            Wire::Layout { is_described } => Input::Layout { is_described },
            Wire::RecoveryEnabled(is_enabled) => Input::RecoveryEnabled(is_enabled),
            Wire::RecoveryRuns(runs) => Input::RecoveryRuns(runs),
            Wire::RecoveryDone {
                run,
                outcome,
                detail,
            } => Input::RecoveryDone {
                run,
                outcome,
                detail,
            },
            Wire::Remembered(incidents) => Input::Remembered(incidents),
            Wire::Sysctls(sysctls) => Input::Sysctls(sysctls),
            Wire::Trouble { part, what } => Input::Trouble {
                part: known(&part),
                what,
            },
            Wire::Tick => Input::Tick,
        }))
    }

    fn scan(&self, scan: wire::Scan<'_>) -> Scan {
        Scan {
            bytes: if self.is_of_another_layout {
                layout::widened_rows(&scan.bytes)
            } else {
                scan.bytes.into_owned()
            },
            is_complete: scan.is_complete,
            begun: Mono(scan.begun),
        }
    }

    fn table(&mut self, mnt_ns: u32, bytes: Option<Cow<'_, [u8]>>) -> Option<Vec<u8>> {
        if let Some(bytes) = bytes {
            self.tables.insert(mnt_ns, bytes.into_owned());
        }
        self.tables.get(&mnt_ns).cloned()
    }

    fn health(&mut self, wire: wire::Health) -> Option<KernelHealth> {
        if let Some(counters) = wire.counters {
            let counters = counters.into_iter();
            self.health.counters = counters
                .map(|(name, count)| (known(&name), count))
                .collect();
        }
        for (place, count) in wire.changed {
            self.health
                .counters
                .get_mut(usize::try_from(place).ok()?)?
                .1 = count;
        }
        if let Some(maps) = wire.maps {
            let maps = maps.into_iter();
            self.health.maps = maps
                .map(|(name, used, limit)| (known(&name), used, limit))
                .collect();
        }
        if let Some(probes) = wire.probes {
            self.health.probes = probes.into_iter().map(probe).collect();
        }
        Some(self.health.clone())
    }
}

fn scan_wire(scan: &Scan) -> wire::Scan<'_> {
    wire::Scan {
        bytes: Cow::Borrowed(&scan.bytes),
        is_complete: scan.is_complete,
        begun: scan.begun.0,
    }
}

fn probe_wire(probe: &ProbeHealth) -> wire::Probe {
    wire::Probe {
        name: probe.probe.to_owned(),
        kind: probe.kind.map(str::to_owned),
        is_wanted: probe.is_wanted,
        is_resting: probe.is_resting,
        reason: probe.reason.clone(),
        lacks: probe.lacks.map(str::to_owned),
    }
}

fn probe(wire: wire::Probe) -> ProbeHealth {
    ProbeHealth {
        probe: known(&wire.name),
        kind: wire.kind.as_deref().map(known),
        is_wanted: wire.is_wanted,
        is_resting: wire.is_resting,
        reason: wire.reason,
        lacks: wire.lacks.as_deref().map(known),
    }
}

fn row_size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
