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
