use super::*;
use crate::config;

const OWN: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
    2 1 0:52 / /mnt/long rw - fuse.sshfs host: rw\n\
    3 1 0:52 /sub /mnt/b rw - fuse.sshfs host: rw\n\
    4 2 0:60 / /mnt/long/tmp rw - tmpfs t rw\n\
    5 1 0:53 / /mnt/c rw - fuse a rw\n\
    6 5 0:54 / /mnt/c rw - fuse b rw\n";
const OTHER: &[u8] = b"9 8 8:2 / / rw - ext4 /dev/sdb1 rw\n\
    10 9 0:70 / /x rw - nfs4 server:/x rw\n\
    11 9 0:52 / /m rw - fuse.sshfs host: rw\n";

fn scope() -> Scope {
    Scope::new(&config::Scope::default()).unwrap()
}

fn two() -> Mounts {
    let mut mounts = Mounts::default();
    assert_eq!(mounts.update(100, true, Mono(1), OWN), Update::Changed);
    assert_eq!(mounts.update(200, false, Mono(1), OTHER), Update::Changed);
    mounts
}

#[test]
fn a_superblock_is_called_by_its_shortest_own_mount_point() {
    let (superblocks, others) = two().superblocks(&scope());
    let labels: Vec<_> = superblocks
        .iter()
        .map(|s| (s.dev.0, s.mountpoint.as_str(), s.mounts.len()))
        .collect();
    assert_eq!(
        labels,
        [
            (52, "/mnt/b", 3),
            (53, "/mnt/c", 1),
            (54, "/mnt/c", 1),
            (70, "/x", 1)
        ]
    );
    assert_eq!(others, 3);
    assert!(superblocks[1].mounts[0].is_covered);
    assert!(!superblocks[2].mounts[0].is_covered);
}

#[test]
fn only_a_change_is_parsed_and_a_lost_namespace_is_dropped() {
    let mut mounts = two();
    assert_eq!(mounts.update(200, false, Mono(1), OTHER), Update::Same);
    assert!(!mounts.retain(&[200]));
    assert!(mounts.retain(&[]));
    assert_eq!(
        mounts.len(),
        6,
        "the observer's own namespace needs no listing"
    );
}

#[test]
fn what_a_cut_table_does_not_show_is_not_gone() {
    let mut mounts = two();
    assert_eq!(
        mounts.update(100, true, Mono(1), &OWN[..60]),
        Update::Refused
    );
    assert_eq!(mounts.namespaces_of(Dev(53)), [100]);
    assert_eq!(mounts.refused()[2], ("mount_tables_cut", 1));
}

#[test]
fn ten_thousand_mounts_one_over_the_other() {
    let line = |id: u32| format!("{id} {} 0:{id} / /mnt rw - fuse src{id} rw\n", id - 1);
    let table: String = (1..=10_000).rev().map(line).collect();
    let mut mounts = Mounts::default();
    mounts.update(100, true, Mono(1), table.as_bytes());
    let (superblocks, _) = mounts.superblocks(&scope());
    assert_eq!(superblocks.len(), 10_000);
    let uncovered = superblocks.iter().filter(|s| !s.mounts[0].is_covered);
    assert_eq!(uncovered.map(|s| s.dev.0).collect::<Vec<_>>(), [10_000]);
}

#[test]
fn paths_are_attributed_to_the_longest_uncovered_prefix() {
    let mut mounts = two();
    let in_scope = BTreeSet::from([Dev(52), Dev(53), Dev(54), Dev(70)]);
    let points: Vec<_> = mounts
        .mount_points(&in_scope)
        .into_iter()
        .map(|p| (p.mnt_ns, String::from_utf8(p.path).unwrap(), p.dev.0))
        .collect();
    let expected = [
        (100, "/mnt/b", 52),
        (100, "/mnt/c", 54),
        (100, "/mnt/long", 52),
        (100, "/mnt/long/tmp", 60),
        (200, "/m", 52),
        (200, "/x", 70),
    ];
    assert_eq!(points, expected.map(|(ns, p, dev)| (ns, p.to_owned(), dev)));
    assert_eq!(mounts.dev_of_path(100, b"/mnt/long/tmp/x"), Some(Dev(60)));
    assert_eq!(
        mounts.dev_of_path(100, b"/mnt/longer"),
        Some(Dev(8 << 20 | 1))
    );
    assert_eq!(mounts.dev_of_path(100, b"/mnt/c"), Some(Dev(54)));
    assert_eq!(mounts.dev_of_path(300, b"/"), None);
}

#[test]
fn the_namespaces_of_a_superblock() {
    assert_eq!(two().namespaces_of(Dev(52)), [100, 200]);
    assert_eq!(two().namespaces_of(Dev(99)), Vec::<u32>::new());
}

#[test]
fn a_table_that_was_read_earlier_than_the_last_changes_nothing() {
    let mut mounts = two();
    assert_eq!(mounts.update(200, false, Mono(3), OTHER), Update::Same);
    assert_eq!(mounts.update(200, false, Mono(2), OWN), Update::Stale);
    assert_eq!(mounts.namespaces_of(Dev(70)), [200]);
    assert_eq!(mounts.update(200, false, Mono(4), OWN), Update::Changed);
}

#[test]
fn a_path_lies_on_the_longest_mount_that_nothing_covers() {
    let table = b"20 1 8:1 / / rw - ext4 /dev/a rw\n\
        30 20 0:52 /srv /mnt/a\\040b rw - fuse.sshfs box: rw\n\
        31 30 0:53 / /mnt/a\\040b/c rw - fuse.bindfs x rw\n\
        32 31 0:54 / /mnt/a\\040b/c rw - fuse.bindfs y rw\n";
    let place = |path: &str| {
        let place = place_of(table, path.as_bytes()).unwrap();
        let inside = String::from_utf8(place.in_filesystem).unwrap();
        (place.line.dev.to_string(), inside)
    };
    let at = |dev: &str, inside: &str| (dev.to_owned(), inside.to_owned());
    assert_eq!(place("/mnt/a b/x/y"), at("0:52", "/srv/x/y"));
    assert_eq!(place("/mnt/a b"), at("0:52", "/srv/"));
    assert_eq!(place("/mnt/a bc"), at("8:1", "/mnt/a bc"));
    assert_eq!(place("/mnt/a b/c/d"), at("0:54", "/d"));
    assert_eq!(place("/"), at("8:1", "/"));
    assert_eq!(place_of(b"", b"/x"), None);
}
