//! The language of the scenarios. One statement a line, `#` starts a comment.
//!
//! ```text
//! set hung_after 5s              a setting of [detect]; first lines only
//! include overlay                a type of filesystem more in scope; first lines only
//! info nested-pid-namespace      what the observer knows about itself; or: single-look
//! @3.5s STATEMENT                let time pass first; ticks happen at every whole second
//! mount 0:52 fuse.bindfs /mnt/a [source=S] [ns=N] [id=N] [parent=N]
//! umount /mnt/a [ns=N]           the last mount of a superblock disconnects it
//! detach /mnt/a [ns=N]           umount -l: out of the table, still connected
//! table [ns=N]                   the mount table is read again
//! read-early table|holders       read now, and handed on later
//! tables slow                    from now on they are handed on only when told
//! hand-on                        the first of those
//! serve 0:52 bindfs[99]          a process opens a connection, or joins the living one
//! stop|cont bindfs[99]
//! exit bindfs[99] SIGNAL         its connections end with their last holder
//! aborts seen                    from now on a program sits where connections end
//! abort 0:52 [HOW] [by=sh[7]]    through fusectl, or: forced-unmount, timeout, unknown
//! past-abort 0:52 sh[7]          that of an earlier connection of the same number
//! release 0:52 sh[7]             a descriptor of it is closed, not the last one
//! layout assumed|misread         the kernel does not describe FUSE; and the numbers are wrong
//! free 0:52                      the kernel frees the connection: unmounted and nobody holds it
//! send 0:52 #7 LOOKUP stat[12] [background] [unseen]     unseen: sent before the probes
//! end #7 [ERRNO]
//! kill #7                        the caller is killed while its request is queued: no end event
//! count 0:52 READ x100 [errno=EIO] [latency=3.5s] [by=cat[12]]
//! lost-path /mnt/a/x newfstatat EIO stat[12] [root=/] [base=/]
//! fail 0:60 /mnt/a/x newfstatat ESTALE stat[12] [cause=0:52]    the kernel's walk named it
//! block 0:52 cat[12] FUNCTION [again] [interruptible]    asleep; again: it has run in between
//!     [since=2s] [walked] [cause=0:52]                   its call began then; its path is walked
//! unblock cat[12]
//! lose COUNTER N                 a counter of the kernel side grows
//! probe missing|back NAME
//! fuse let-go|attached           a module, and the programs on it
//! scans fail|work
//! queues hidden|shown            whether the requests queued on a connection are listed
//! exclude FSTYPE                 the configuration is read again
//! read-totals                    the shell reads the counters
//! tick
//! incidents                      what the journal holds
//! restart                        the observer is killed, and another begins with the journal
//! reboot                         the machine is, and all its mounts are gone
//! trace [KEY=VALUE|failed]       a trace runs beside, and its lines are shown; first lines only
//! call 0:52 /mnt/a/x statx stat[12] [errno=EIO] [latency=3ms]    a traced system call ends
//! vanish #7                      it is there no more, and its record was lost
//! trace-summary                  what the trace comes to
//! show [evidence|failures]       the state of every superblock, with the facts or the victims
//! ```

use std::{collections::BTreeSet, time::Duration};

use mount_observer::{
    config::Config,
    errno::Errno,
    input::{BootId, Input, SelfInfo},
    operation::Operation,
    superblock::Dev,
};
use mount_observer_common::AbortCause;
use zerocopy::IntoBytes;

use crate::{
    show::show,
    traces,
    world::{
        Connection, FUSE_PROBES, Failed, Mount, PROBES, Process, Request, START, Server, Sleeper,
        Traced, World,
    },
};

/// Runs a scenario; returns what the observer said.
pub(crate) fn run(script: &str) -> String {
    let mut config = Config::default();
    let mut info = SelfInfo {
        boot: BootId(7),
        is_initial_pid_namespace: true,
        is_single_look: false,
    };
    let mut trace = None;
    let mut world = None;
    for (number, line) in (1..).zip(script.lines()) {
        let line = line.split(" # ").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["set", key, value] => set(&mut config, key, value),
            ["include", fstype] => config.scope.include_fstypes.push((*fstype).to_owned()),
            ["trace", options @ ..] => trace = Some(traces::options(options)),
            ["info", "nested-pid-namespace"] => info.is_initial_pid_namespace = false,
            ["info", "single-look"] => info.is_single_look = true,
            words => {
                let world =
                    world.get_or_insert_with(|| World::new(config.clone(), info, trace.clone()));
                statement(world, words).unwrap_or_else(|| panic!("line {number}: {line}"));
            }
        }
    }
    world.unwrap().log
}

/// Runs a history, as far as each of its happenings makes sense where it happens.
pub(crate) fn live(history: &[(u64, String)]) -> World {
    let info = SelfInfo {
        boot: BootId(7),
        is_initial_pid_namespace: true,
        is_single_look: false,
    };
    let mut world = World::new(Config::default(), info, None);
    let mut at_ms = 0;
    for (pause_ms, line) in history {
        at_ms += pause_ms;
        world.advance(at_ms * 1_000_000);
        let words: Vec<&str> = line.split_whitespace().collect();
        if is_impossible(&world, &words, at_ms) {
            continue;
        }
        // `None` is a happening that cannot be: the end of a request that was never sent.
        statement(&mut world, &words);
    }
    world.tick();
    world
}

/// One statement, if it makes sense now.
pub(crate) fn say(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    statement(world, &words);
}

/// A connection is made before its mount, and never again for the same one. Scenarios are free to
/// tell it the other way round, histories (which begin so) are not.
fn is_impossible(world: &World, words: &[&str], at_ms: u64) -> bool {
    let ["serve", number, _] = words else {
        return false;
    };
    let is_mounted = world.tables.values().flatten().any(|m| m.dev == *number);
    let dev = dev(number).unwrap();
    let is_alive = connection_of(world, dev).is_some_and(|c| world.connections[&c].is_connected);
    at_ms > 0 && is_mounted && !is_alive
}

fn set(config: &mut Config, key: &str, value: &str) {
    let detect = &mut config.detect;
    match key {
        "hung_after" => detect.hung_after = duration(value).unwrap(),
        "blocking_after" => detect.blocking_after = duration(value).unwrap(),
        "slow_p99" => detect.slow_p99 = duration(value).unwrap(),
        "slow_min_samples" => detect.slow_min_samples = value.parse().unwrap(),
        "clear_after" => detect.clear_after = duration(value).unwrap(),
        other => panic!("no such setting here: {other}"),
    }
}

fn statement(world: &mut World, words: &[&str]) -> Option<()> {
    let (&first, rest) = words.split_first()?;
    if let Some(at) = first.strip_prefix('@') {
        world.advance(u64::try_from(duration(at)?.as_nanos()).ok()?);
        return if rest.is_empty() {
            Some(())
        } else {
            statement(world, rest)
        };
    }
    match first {
        "mount" => mount(world, rest),
        "umount" | "detach" => unmount(world, rest, first == "umount"),
        "table" => {
            world.read_table(option(rest, "ns").map_or(Some(1), |ns| ns.parse().ok())?);
            Some(())
        }
        "serve" => serve(world, rest),
        "stop" | "cont" => {
            let process = process(rest.first()?)?;
            for server in world.servers.iter_mut().filter(|s| s.process == process) {
                server.is_stopped = first == "stop";
            }
            Some(())
        }
        "exit" => {
            world.exit(&process(rest.first()?)?, signal(rest.get(1)?)?);
            Some(())
        }
        "abort" => {
            let (number, options) = rest.split_first()?;
            let address = connection_of(world, dev(number)?)?;
            let by = option(options, "by").unwrap_or("sh[7]");
            world.abort(address, abort_cause(options.first())?, &process(by)?);
            Some(())
        }
        "past-abort" => {
            world.record_abort(
                dev(rest.first()?)?,
                AbortCause::ServerExit,
                &process(rest.get(1)?)?,
            );
            Some(())
        }
        "release" => {
            world.record_release(dev(rest.first()?)?, &process(rest.get(1)?)?);
            Some(())
        }
        "free" => {
            let address = connection_of(world, dev(rest.first()?)?)?;
            world.connections.remove(&address).map(|_| ())
        }
        "send" => send(world, rest),
        "end" => {
            let errno = rest.get(1).map_or(Some(0), |name| errno(name))?;
            world.end(request_number(rest.first()?)?, errno)
        }
        "kill" => {
            let request = world.requests.get_mut(&request_number(rest.first()?)?)?;
            request.is_queued = false;
            request.is_waited_for = false;
            Some(())
        }
        _ => learn(world, first, rest),
    }
}

/// Statements about what is counted, seen and lost.
fn learn(world: &mut World, first: &str, rest: &[&str]) -> Option<()> {
    match first {
        "count" => count(world, rest)?,
        "lost-path" => lost_path(world, rest)?,
        "fail" => fail(world, rest)?,
        "aborts" => world.sees_aborts = *rest.first()? == "seen",
        "layout" => {
            world.feed(Input::Layout {
                is_described: false,
            });
            world.misread_by = if *rest.first()? == "misread" { 0x40 } else { 0 };
        }
        "block" => block(world, rest)?,
        "unblock" => {
            world.sleepers.remove(&process(rest.first()?)?.pid)?;
        }
        "lose" => {
            let known = [
                "ring_full",
                "in_flight_full",
                "totals_full",
                "slot_collisions",
                "lost_probe_runs",
                "trace_lost",
            ];
            let name = known.into_iter().find(|name| rest.first() == Some(name))?;
            let lost: u64 = rest.get(1)?.parse().ok()?;
            *world.counters.entry(name).or_default() += lost;
        }
        "probe" => {
            let name = PROBES.into_iter().find(|name| rest.get(1) == Some(name))?;
            match *rest.first()? {
                "missing" => world.missing_probes.insert(name),
                "back" => world.missing_probes.remove(name),
                _ => return None,
            };
        }
        "fuse" => {
            world.resting_probes = match *rest.first()? {
                "let-go" => FUSE_PROBES.into(),
                _ => BTreeSet::new(),
            };
            world.note_health();
        }
        "queues" => world.hides_queues = *rest.first()? == "hidden",
        "scans" => world.is_scanning = *rest.first()? == "work",
        "read-early" => world.read_early(rest.first()?)?,
        "tables" => world.is_reading_slowly = *rest.first()? == "slow",
        "hand-on" => world.hand_on()?,
        "read-totals" => world.read_totals(),
        "exclude" => world.exclude(rest.first()?),
        "tick" => world.tick(),
        "incidents" => world.show_incidents(),
        "restart" => world.restart(7),
        "reboot" => world.reboot(),
        "show" => show(world, rest),
        "vanish" => {
            world.requests.remove(&request_number(rest.first()?)?)?;
        }
        "call" => call(world, rest)?,
        "trace-summary" => world.show_summary(),
        _ => return None,
    }
    Some(())
}

fn mount(world: &mut World, words: &[&str]) -> Option<()> {
    let [dev, fstype, point, options @ ..] = words else {
        return None;
    };
    let mnt_ns = option(options, "ns").map_or(Some(1), |ns| ns.parse().ok())?;
    let table = world.tables.entry(mnt_ns).or_default();
    if table.is_empty() {
        table.push(Mount {
            id: 1,
            parent: 0,
            dev: "8:1".to_owned(),
            fstype: "ext4".to_owned(),
            point: "/".to_owned(),
            source: "/dev/sda1".to_owned(),
        });
    }
    let next = table.iter().map(|mount| mount.id).max()? + 1;
    table.push(Mount {
        id: option(options, "id").map_or(Some(next), |id| id.parse().ok())?,
        parent: option(options, "parent").map_or(Some(1), |id| id.parse().ok())?,
        dev: (*dev).to_owned(),
        fstype: (*fstype).to_owned(),
        point: (*point).to_owned(),
        source: option(options, "source").unwrap_or("src").to_owned(),
    });
    world.read_table(mnt_ns);
    Some(())
}

fn unmount(world: &mut World, words: &[&str], is_disconnecting: bool) -> Option<()> {
    let (point, options) = words.split_first()?;
    let mnt_ns = option(options, "ns").map_or(Some(1), |ns| ns.parse().ok())?;
    let table = world.tables.get_mut(&mnt_ns)?;
    let index = table.iter().rposition(|mount| mount.point == *point)?;
    let mount = table.remove(index);
    let is_last = !world.tables.values().flatten().any(|m| m.dev == mount.dev);
    if is_last
        && is_disconnecting
        && let Some(address) = connection_of(world, dev(&mount.dev)?)
    {
        let by = process("umount[1]")?;
        world.abort(address, AbortCause::Unmount, &by);
    }
    world.read_table(mnt_ns);
    Some(())
}

/// Joins the living connection of that number, or makes one.
fn serve(world: &mut World, words: &[&str]) -> Option<()> {
    let [number, server] = words else { return None };
    let dev = dev(number)?;
    let alive = connection_of(world, dev).filter(|address| world.connections[address].is_connected);
    let address = alive.unwrap_or_else(|| {
        let address = world
            .connections
            .keys()
            .last()
            .map_or(0xf000, |last| last + 1);
        let connection = Connection {
            dev,
            is_connected: true,
        };
        world.connections.insert(address, connection);
        address
    });
    world.servers.push(Server {
        process: process(server)?,
        connection: address,
        is_stopped: false,
    });
    Some(())
}

fn connection_of(world: &World, dev: u32) -> Option<u64> {
    let mut all = world.connections.iter().rev();
    all.find(|(_, c)| c.dev == dev).map(|(address, _)| *address)
}

fn send(world: &mut World, words: &[&str]) -> Option<()> {
    let [number, request, operation, caller, options @ ..] = words else {
        return None;
    };
    let opcode = match Operation::from_name(operation)?.0 {
        mount_observer_common::Op::Fuse(opcode) => opcode,
        mount_observer_common::Op::Nfs(_) | mount_observer_common::Op::Syscall(_) => return None,
    };
    let request = (
        request_number(request)?,
        Request {
            dev: dev(number)?,
            opcode,
            caller: process(caller)?,
            start: world.now,
            is_tracked: !options.contains(&"unseen"),
            is_queued: true,
            is_waited_for: !options.contains(&"background"),
        },
    );
    world.requests.insert(request.0, request.1);
    Some(())
}

fn count(world: &mut World, words: &[&str]) -> Option<()> {
    let [number, operation, count, options @ ..] = words else {
        return None;
    };
    let dev = dev(number)?;
    let op = Operation::from_name(operation)?.0.to_wire();
    let errno = option(options, "errno").map_or(Some(0), errno)?;
    let latency = option(options, "latency").unwrap_or("1ms");
    let latency = u64::try_from(duration(latency)?.as_nanos()).ok()?;
    let count = count.strip_prefix('x')?.parse().ok()?;
    world.count(dev, op, errno, count, Some(latency));
    if let Some(caller) = option(options, "by") {
        let record = world.record(1, u32::from(op), dev, u32::from(errno), &process(caller)?);
        world.feed(Input::Record(record.as_bytes().to_vec()));
    }
    Some(())
}

fn lost_path(world: &mut World, words: &[&str]) -> Option<()> {
    let [path, operation, name, caller, options @ ..] = words else {
        return None;
    };
    let caller = process(caller)?;
    let link = |key| option(options, key).unwrap_or("/").to_owned();
    world.links.insert(caller.pid, (link("root"), link("base")));
    let op = Operation::from_name(operation)?.0.to_wire();
    world.lost_path(op, errno(name)?, path, &caller);
    Some(())
}

fn fail(world: &mut World, words: &[&str]) -> Option<()> {
    let [number, path, operation, name, caller, options @ ..] = words else {
        return None;
    };
    world.failed_path(&Failed {
        dev: dev(number)?,
        op: Operation::from_name(operation)?.0.to_wire(),
        errno: errno(name)?,
        path,
        cause: option(options, "cause").map_or(Some(0), dev)?,
        caller: process(caller)?,
    });
    Some(())
}

fn call(world: &mut World, words: &[&str]) -> Option<()> {
    let [number, path, operation, caller, options @ ..] = words else {
        return None;
    };
    let latency = duration(option(options, "latency").unwrap_or("1ms"))?;
    world.trace_call(&Traced {
        dev: dev(number)?,
        op: Operation::from_name(operation)?.0.to_wire(),
        errno: option(options, "errno").map_or(Some(0), errno)?,
        latency_ns: u64::try_from(latency.as_nanos()).ok()?,
        path,
        caller: process(caller)?,
    });
    Some(())
}

fn abort_cause(word: Option<&&str>) -> Option<AbortCause> {
    match word.filter(|word| !word.contains('=')) {
        None => Some(AbortCause::Fusectl),
        Some(&"forced-unmount") => Some(AbortCause::ForcedUnmount),
        Some(&"timeout") => Some(AbortCause::Timeout),
        Some(&"unknown") => Some(AbortCause::Unknown),
        Some(_) => None,
    }
}

fn block(world: &mut World, words: &[&str]) -> Option<()> {
    let [number, caller, function, options @ ..] = words else {
        return None;
    };
    let process = process(caller)?;
    let before = world.sleepers.get(&process.pid).map_or(1, |s| s.switches);
    let sleeper = Sleeper {
        dev: dev(number)?,
        function: (*function).to_owned(),
        switches: before + u64::from(options.contains(&"again")),
        is_interruptible: options.contains(&"interruptible"),
        since: match option(options, "since") {
            Some(at) => START + u64::try_from(duration(at)?.as_nanos()).ok()?,
            None => 0,
        },
        has_walked: options.contains(&"walked"),
        cause: option(options, "cause").map_or(Some(0), dev)?,
        process,
    };
    world.sleepers.insert(sleeper.process.pid, sleeper);
    Some(())
}

fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    let mut values = words.iter().filter_map(|word| word.split_once('='));
    values
        .find(|(known, _)| *known == key)
        .map(|(_, value)| value)
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    Some(Duration::from_secs_f64(digits.parse::<f64>().ok()? * unit))
}

fn dev(text: &str) -> Option<u32> {
    let (major, minor) = text.split_once(':')?;
    Some(Dev::from_parts(major.parse().ok()?, minor.parse().ok()?)?.0)
}

fn process(text: &str) -> Option<Process> {
    let (comm, pid) = text.strip_suffix(']')?.split_once('[')?;
    Some(Process {
        comm: comm.to_owned(),
        pid: pid.parse().ok()?,
    })
}

fn request_number(text: &str) -> Option<u64> {
    text.strip_prefix('#')?.parse().ok()
}

fn errno(name: &str) -> Option<u16> {
    (1..200).find(|number| Errno(*number).name() == Some(name))
}

/// A raw wait status.
fn signal(name: &str) -> Option<u32> {
    match name {
        "SIGKILL" => Some(9),
        "exit-0" => Some(0),
        "exit-1" => Some(1 << 8),
        _ => None,
    }
}
