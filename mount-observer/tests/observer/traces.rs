//! Traces: what the scenarios ask of them.

use std::{num::NonZero, time::Duration};

use mount_observer::trace::{Options, filter};

/// `mount=GLOB fstype=GLOB pid=N comm=GLOB op=NAME errno=NAME min=MS blocked-after=MS count=N failed`,
/// times in milliseconds.
pub(crate) fn options(words: &[&str]) -> Options {
    let mut options = Options::default();
    let filter = &mut options.filter;
    let time = |value: &str| Duration::from_millis(value.parse().unwrap());
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let value = value.to_owned();
        match key {
            "mount" => filter.mounts.push(value),
            "fstype" => filter.fstypes.push(value),
            "pid" => filter.pids.push(value.parse().unwrap()),
            "comm" => filter.comms.push(value),
            "op" => filter.operations.push(value),
            "errno" => filter.errnos.push(filter::errno(&value).unwrap()),
            "failed" => filter.only_failed = true,
            "min" => filter.min_latency = Some(time(&value)),
            "sample" => filter.sample = value.parse().unwrap(),
            "blocked-after" => options.blocked_after = time(&value),
            "count" => options.count = NonZero::new(value.parse().unwrap()),
            other => panic!("no such option here: {other}"),
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mount_observer::config::Config;
    use mount_observer::{
        input::{BootId, SelfInfo},
        trace::{Line, Options, State},
    };
    use proptest::prelude::*;

    use crate::{script, world::World};

    /// A request is sent, or one of those that were sent ends, or time passes.
    fn happening() -> impl Strategy<Value = String> {
        let operation = prop_oneof![Just("LOOKUP"), Just("READ"), Just("STATFS")];
        let errno = prop_oneof![Just(""), Just(" EIO"), Just(" ENOENT")];
        prop_oneof![
            3 => (0..40_u64, operation).prop_map(|(n, op)| format!("send 0:52 #{n} {op} cat[7]")),
            3 => (0..40_u64, errno).prop_map(|(n, errno)| format!("end #{n}{errno}")),
            1 => (0..40_u64).prop_map(|n| format!("vanish #{n}")),
            1 => Just("tick".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_summary_counts_the_lines(
            history in prop::collection::vec((0..1_500_u64, happening()), 1..60)
        ) {
            let info = SelfInfo {
                boot: BootId(7),
                is_initial_pid_namespace: true,
                is_single_look: false,
            };
            let mut world = World::new(Config::default(), info, Some(Options::default()));
            world.keeps_lines = true;
            let mut at_ms = 0;
            for line in ["mount 0:52 fuse.bindfs /mnt/a", "serve 0:52 bindfs[99]"] {
                script::say(&mut world, line);
            }
            for (pause_ms, line) in history {
                at_ms += pause_ms;
                world.advance(at_ms * 1_000_000);
                script::say(&mut world, &line);
            }
            let summary = world.session.tracer().unwrap().summary();
            let mut shown = BTreeMap::new();
            let (mut blocked, mut unblocked) = (0, 0);
            for line in &world.lines {
                let Line::Operation(line) = line else { continue };
                if line.state == State::Blocked {
                    blocked += 1;
                    continue;
                }
                unblocked += usize::from(line.was_blocked);
                if line.state != State::Gone {
                    *shown.entry((line.operation.unwrap().to_string(), line.errno)).or_insert(0) += 1;
                }
            }
            let mut counted = BTreeMap::new();
            for mount in &summary.mounts {
                for operation in &mount.operations {
                    let failed: u64 = operation.errors.values().sum();
                    prop_assert_eq!(failed, operation.failed);
                    let ends = [(None, operation.count - failed)].into_iter();
                    let errors = operation.errors.iter().map(|(errno, count)| (Some(*errno), *count));
                    for (errno, count) in ends.chain(errors).filter(|(_, count)| *count > 0) {
                        counted.insert((operation.op.to_string(), errno), count);
                    }
                    let rows: u64 = operation.histogram.iter().map(|row| row.count).sum();
                    prop_assert_eq!(rows, operation.count);
                }
            }
            prop_assert_eq!(counted, shown);
            // Whatever was told to block is told to have ended, or blocks still.
            prop_assert_eq!(blocked, unblocked + summary.blocked.len());
        }
    }
}
