//! What the observer asks the shell for stays bounded, and leaves nobody out.

use std::collections::BTreeSet;

use mount_observer::{
    config::Config,
    input::{BootId, Effect, Input, Scan, SelfInfo},
    observer::Observer,
    superblock::Dev,
    time::{Mono, Now, Wall},
};
use mount_observer_common::HolderRow;
use zerocopy::IntoBytes as _;

/// `RowKind::Holder` on the wire.
const HOLDER: u32 = 1;
const MOUNTS: u32 = 600;
const SECOND_NS: u64 = 1_000_000_000;

fn at(second: u64) -> Now {
    Now {
        mono: Mono(second * SECOND_NS),
        wall: Wall(second * SECOND_NS),
    }
}

fn table() -> Vec<u8> {
    let line = |minor: u32| {
        format!("{minor} 1 0:{minor} / /mnt/{minor} rw - fuse.bindfs /srv rw\n").into_bytes()
    };
    (1..=MOUNTS).flat_map(line).collect()
}

fn holders() -> Vec<u8> {
    let row = |minor: u32| {
        let row = HolderRow {
            kind: HOLDER,
            size: u32::try_from(size_of::<HolderRow>()).unwrap(),
            connection_ptr: u64::from(minor) << 12,
            tgid: 10_000 + minor,
            fd: 3,
            dev: minor,
            connected: 1,
            waiting: 0,
            task_state: 1,
            queued_seen: 0,
            queued_emitted: 0,
            comm: *b"bindfs\0\0\0\0\0\0\0\0\0\0",
        };
        row.as_bytes().to_vec()
    };
    (1..=MOUNTS).flat_map(row).collect()
}

#[test]
fn six_hundred_idle_connections_take_turns_and_each_gets_one() {
    let info = SelfInfo {
        boot: BootId(7),
        is_initial_pid_namespace: true,
        is_single_look: false,
    };
    let mut observer = Observer::new(&Config::default(), info).unwrap();
    let table = Input::Mountinfo {
        mnt_ns: 1,
        is_own: true,
        read_at: at(1).mono,
        bytes: table(),
    };
    observer.step(at(1), table);
    let scan = Scan {
        bytes: holders(),
        is_complete: true,
        begun: at(1).mono,
    };
    observer.step(at(1), Input::Holders(scan));
    let mut looked_at: Vec<BTreeSet<Dev>> = Vec::new();
    for second in 2..5 {
        for effect in observer.step(at(second), Input::Tick) {
            if let Effect::CheckConnections(connections) = effect {
                looked_at.push(connections.iter().map(|&(_, dev)| dev).collect());
            }
        }
    }
    let sizes: Vec<usize> = looked_at.iter().map(BTreeSet::len).collect();
    assert_eq!(sizes, [256; 3]);
    let all: BTreeSet<Dev> = looked_at.into_iter().flatten().collect();
    assert_eq!(all, (1..=MOUNTS).map(Dev).collect());
}

#[test]
fn the_first_mount_of_a_type_asks_for_its_wait_functions_and_the_second_does_not() {
    let info = SelfInfo {
        boot: BootId(7),
        is_initial_pid_namespace: true,
        is_single_look: false,
    };
    let mut observer = Observer::new(&Config::default(), info).unwrap();
    let mut bytes = Vec::new();
    let mut asks = |second: u64, fstype: &str| {
        bytes.extend(format!("{second} 1 0:{second} / /mnt/{second} rw - {fstype} x rw\n").bytes());
        let table = Input::Mountinfo {
            mnt_ns: 1,
            is_own: true,
            read_at: at(second).mono,
            bytes: bytes.clone(),
        };
        let effects = observer.step(at(second), table);
        effects.contains(&Effect::FindWaitFunctions)
    };
    let types = ["nfs4", "nfs4", "ext4", "9p", "fuse.sshfs", "fuse.bindfs"];
    let asked: Vec<bool> = (2..)
        .zip(types)
        .map(|(at, fstype)| asks(at, fstype))
        .collect();
    assert_eq!(asked, [true, false, false, true, true, false]);
}

#[test]
fn nfs_is_followed_while_something_of_it_is_mounted() {
    let info = SelfInfo {
        boot: BootId(7),
        is_initial_pid_namespace: true,
        is_single_look: false,
    };
    let mut observer = Observer::new(&Config::default(), info).unwrap();
    let mut followed = |second: u64, mounts: &[(u32, &str)]| {
        let line = |(minor, fstype): &(u32, &str)| {
            format!("{minor} 1 0:{minor} / /{minor} rw - {fstype} x rw\n")
        };
        let table = Input::Mountinfo {
            mnt_ns: 1,
            is_own: true,
            read_at: at(second).mono,
            bytes: mounts.iter().map(line).collect::<String>().into_bytes(),
        };
        let effects = observer.step(at(second), table);
        effects.into_iter().find_map(|effect| {
            let Effect::FollowNfs(superblocks) = effect else {
                return None;
            };
            let ids = superblocks.iter().map(|id| (id.dev.minor(), id.epoch));
            Some(ids.collect::<Vec<_>>())
        })
    };
    let epochs = |list: &[(u32, u32)]| Some(list.to_vec());
    assert_eq!(followed(1, &[(7, "fuse.sshfs")]), None);
    assert_eq!(
        followed(2, &[(7, "fuse.sshfs"), (8, "nfs4")]),
        epochs(&[(8, 0)])
    );
    assert_eq!(followed(3, &[(8, "nfs4"), (9, "ext4")]), None);
    let both = [(8, "nfs4"), (9, "nfs")];
    assert_eq!(followed(4, &both), epochs(&[(8, 0), (9, 0)]));
    assert_eq!(followed(5, &[(9, "nfs")]), epochs(&[(9, 0)]));
    // Another superblock under the same number has another client.
    assert_eq!(followed(6, &both), epochs(&[(8, 1), (9, 0)]));
    assert_eq!(followed(7, &[]), epochs(&[]));
    assert_eq!(followed(8, &[]), None);
}
