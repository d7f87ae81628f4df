//! Inputs of every kind, for the properties.

use mount_observer_common::{BUCKETS, COMM_BYTES, InFlight, TotalsKey, TotalsValue};
use proptest::{collection::vec, option, prelude::*};
use zerocopy::FromZeros;

use super::*;
use crate::{
    input::{
        ConnectionCheck, ConnectionState, KernelHealth, Links, ProbeHealth, Scan, WaitFunction,
    },
    recovery::{Outcome, RecoveryRun, RecoveryStep},
    render::fixture,
    superblock::Dev,
};

/// Variants of [`Input`] that the strategy below can make.
pub(super) const VARIANTS: usize = 26;

/// A number for each variant: one that is added does not compile here.
pub(super) fn variant(input: &Input) -> usize {
    match input {
        Input::Record(_) => 0,
        Input::Totals(_) => 1,
        Input::InFlight(_) => 2,
        Input::Holders(_) => 3,
        Input::Tasks { .. } => 4,
        Input::ShadowWrites(_) => 5,
        Input::Files { .. } => 6,
        Input::Connection(_) => 7,
        Input::Mountinfo { .. } => 8,
        Input::Namespaces(_) => 9,
        Input::Waiting(_) => 10,
        Input::WaitFunctions(_) => 11,
        Input::Names(_) => 12,
        Input::Units(_) => 13,
        Input::Links(_) => 14,
        Input::Health(_) => 15,
        Input::Unseen { .. } => 16,
        Input::Layout { .. } => 17,
        Input::RecoveryEnabled(_) => 18,
        Input::RecoveryRuns(_) => 19,
        Input::RecoveryDone { .. } => 20,
        Input::Remembered(_) => 21,
        Input::Sysctls(_) => 22,
        Input::Trouble { .. } => 23,
        Input::Tick => 24,
        Input::TraceGroups(_) => 25,
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..400)
}

fn word() -> impl Strategy<Value = String> {
    "[a-z\\n\"\u{fc}]{0,9}"
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("fuse_end"),
        Just("ring full"),
        Just(""),
        Just("tp_btf")
    ]
}

fn scan() -> impl Strategy<Value = Scan> {
    (bytes(), any::<bool>(), any::<u64>()).prop_map(|(bytes, is_complete, begun)| Scan {
        bytes,
        is_complete,
        begun: Mono(begun),
    })
}

fn totals() -> impl Strategy<Value = Input> {
    let key = (0_u32..3, 0_u16..3, 0_u16..2);
    let row = (key, any::<u64>(), any::<u32>());
    vec(row, 0..6).prop_map(|rows| {
        let rows = rows.into_iter().map(|((dev, op, errno), count, slow)| {
            let value = TotalsValue {
                count,
                sum_ns: count ^ 7,
                buckets: [slow; BUCKETS],
                ..TotalsValue::ZERO
            };
            (TotalsKey { dev, op, errno }, value)
        });
        Input::Totals(rows.collect())
    })
}

fn in_flight() -> impl Strategy<Value = Input> {
    vec((any::<u64>(), any::<u64>(), any::<u32>()), 0..6).prop_map(|rows| {
        let rows = rows.into_iter().map(|(address, start_ns, tid)| {
            let entry = InFlight {
                start_ns,
                tid,
                comm: [b'x'; COMM_BYTES],
                ..InFlight::new_zeroed()
            };
            (address, entry)
        });
        Input::InFlight(rows.collect())
    })
}

fn health() -> impl Strategy<Value = Input> {
    let probe = (name(), option::of(name()), any::<bool>(), word());
    let probe = probe.prop_map(|(probe, kind, is_wanted, reason)| ProbeHealth {
        probe,
        kind,
        is_wanted,
        is_resting: !is_wanted,
        reason,
        lacks: kind,
    });
    let counters = vec((name(), any::<u64>()), 0..4);
    let maps = vec((name(), any::<u64>(), any::<u64>()), 0..4);
    (counters, maps, vec(probe, 0..3)).prop_map(|(counters, maps, probes)| {
        Input::Health(KernelHealth {
            counters,
            maps,
            probes,
        })
    })
}

fn run() -> RecoveryRun {
    RecoveryRun {
        id: "x/1".to_owned(),
        incident: fixture::full_incident().id,
        mount_point: "/mnt/a".to_owned(),
        started_unix_ns: Wall(1),
        ended_unix_ns: None,
        outcome: Some(Outcome::DryRun),
        steps: vec![RecoveryStep {
            at_unix_ns: Wall(2),
            step: "verify".to_owned(),
            outcome: Outcome::Ok,
            detail: String::new(),
        }],
    }
}

fn kernel_input() -> impl Strategy<Value = Input> {
    let state = option::of((any::<bool>(), any::<u32>()));
    let state = state.prop_map(|state| {
        state.map(|(is_connected, waiting)| ConnectionState {
            is_connected,
            waiting,
        })
    });
    prop_oneof![
        bytes().prop_map(Input::Record),
        totals(),
        in_flight(),
        scan().prop_map(Input::Holders),
        (scan(), any::<bool>()).prop_map(|(scan, is_full)| Input::Tasks { scan, is_full }),
        vec((0_u32..9, any::<u64>()), 0..4).prop_map(Input::ShadowWrites),
        (scan(), vec(any::<u32>(), 0..3)).prop_map(|(scan, devs)| Input::Files {
            scan,
            superblocks: devs.into_iter().map(Dev).collect(),
        }),
        (any::<u32>(), state).prop_map(|(dev, state)| Input::Connection(ConnectionCheck {
            dev: Dev(dev),
            state,
        })),
        (0_u32..3, any::<bool>(), any::<u64>(), "[ab]{0,2}").prop_map(
            |(mnt_ns, is_own, read_at, text)| Input::Mountinfo {
                mnt_ns,
                is_own,
                read_at: Mono(read_at),
                bytes: text.into_bytes(),
            }
        ),
        vec(0_u32..3, 0..3).prop_map(Input::Namespaces),
        vec((any::<u32>(), any::<u32>()), 0..3).prop_map(|all| {
            let all = all.into_iter();
            Input::Waiting(all.map(|(dev, waiting)| (Dev(dev), waiting)).collect())
        }),
        vec((any::<u64>(), any::<u64>(), word()), 0..3).prop_map(|all| {
            let one = |(start, end, name)| WaitFunction { start, end, name };
            Input::WaitFunctions(all.into_iter().map(one).collect())
        }),
        vec((any::<u64>(), word()), 0..3).prop_map(Input::Names),
        health(),
    ]
}

fn other_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        vec((any::<u32>(), option::of(bytes())), 0..3).prop_map(Input::Units),
        (
            any::<u32>(),
            any::<i32>(),
            option::of(bytes()),
            option::of(bytes())
        )
            .prop_map(|(tid, dfd, root, base)| Input::Links(Links {
                tid,
                dfd,
                root,
                base,
            })),
        (name(), any::<u64>()).prop_map(|(what, count)| Input::Unseen { what, count }),
        any::<bool>().prop_map(|is_described| Input::Layout { is_described }),
        any::<bool>().prop_map(Input::RecoveryEnabled),
        Just(Input::RecoveryRuns(vec![run()])),
        (word(), word()).prop_map(|(run, detail)| Input::RecoveryDone {
            run,
            outcome: Outcome::Timeout,
            detail,
        }),
        Just(Input::Remembered(vec![fixture::full_incident()])),
        vec((word(), word()), 0..3).prop_map(Input::Sysctls),
        (name(), option::of(word())).prop_map(|(part, what)| Input::Trouble { part, what }),
        vec(any::<u64>(), 0..3).prop_map(Input::TraceGroups),
        Just(Input::Tick),
    ]
}

pub(super) fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        14 => kernel_input().prop_map(Said::Input),
        12 => other_input().prop_map(Said::Input),
        1 => any::<u64>().prop_map(Said::Lost),
        1 => any::<u64>().prop_map(|storm_errors| {
            let mut config = Config::default();
            config.detect.storm_errors = storm_errors;
            Said::Reconfigure(Box::new(Decisive::of(&config)))
        }),
    ]
}

/// Readings that are written as how they differ from the last, which a new segment has not seen.
pub(super) fn steady(second: u64) -> [Input; 3] {
    let totals = (0..40_u32).map(|dev| {
        let key = TotalsKey {
            dev,
            op: 1,
            errno: 0,
        };
        let count = if dev == 7 { second / 7 } else { 5 };
        let value = TotalsValue {
            count,
            ..TotalsValue::ZERO
        };
        (key, value)
    });
    let table = Input::Mountinfo {
        mnt_ns: 9,
        is_own: false,
        read_at: at(second).mono,
        bytes: b"always the same".to_vec(),
    };
    let health = KernelHealth {
        counters: vec![("trace_lost", second / 11), ("in_flight_full", 3)],
        ..KernelHealth::default()
    };
    [
        Input::Totals(totals.collect()),
        table,
        Input::Health(health),
    ]
}
