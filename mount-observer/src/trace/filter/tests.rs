use super::*;

fn subject() -> Subject<'static> {
    Subject {
        pid: 7,
        comm: "rsync",
        is_in_group: None,
        operation: Some(Operation::fuse(1)),
        errno: None,
        latency: Some(Duration::from_millis(3)),
    }
}

fn failed(errno: u16) -> Subject<'static> {
    Subject {
        errno: Some(Errno(errno)),
        ..subject()
    }
}

fn matcher(change: impl FnOnce(&mut Filter)) -> Matcher {
    let mut filter = Filter::default();
    change(&mut filter);
    Matcher::new(&filter).unwrap()
}

#[test]
fn the_default_admits_everything() {
    let all = matcher(|_| {});
    assert!(all.admits(&subject()) && all.admits(&failed(5)));
    assert!(all.admits_superblock("fuse.sshfs", ["/srv/a"].into_iter()));
}

#[test]
fn every_criterion_must_hold_and_of_its_values_any() {
    let both = matcher(|filter| {
        filter.pids = vec![1, 7];
        filter.comms = vec!["cp".to_owned(), "rs*".to_owned()];
        filter.operations = vec!["GETATTR".to_owned(), "LOOKUP".to_owned()];
    });
    assert!(both.admits(&subject()));
    for other in [
        Subject {
            pid: 8,
            ..subject()
        },
        Subject {
            comm: "rm",
            ..subject()
        },
        Subject {
            operation: Some(Operation::fuse(15)),
            ..subject()
        },
        Subject {
            operation: None,
            ..subject()
        },
    ] {
        assert!(!both.admits(&other), "{other:?}");
    }
}

#[test]
fn failures_latencies_and_errors() {
    let bad = matcher(|filter| filter.only_failed = true);
    assert!(!bad.admits(&subject()) && bad.admits(&failed(2)));
    assert!(!bad.shows_unended() && bad.admits_unended(&subject()));
    let io = matcher(|filter| filter.errnos = vec![Errno::EIO]);
    assert!(io.admits(&failed(5)) && !io.admits(&failed(2)) && !io.admits(&subject()));
    let slow = matcher(|filter| filter.min_latency = Some(Duration::from_millis(3)));
    assert!(slow.admits(&subject()));
    let quick = Some(Duration::from_micros(2_999));
    assert!(!slow.admits(&Subject {
        latency: quick,
        ..subject()
    }));
    assert!(!slow.admits(&Subject {
        latency: None,
        ..subject()
    }));
}

#[test]
fn of_a_superblocks_mounts_any_decides_and_the_type_as_well() {
    let here = matcher(|filter| {
        filter.mounts = vec!["/srv/*".to_owned()];
        filter.fstypes = vec!["fuse*".to_owned()];
    });
    assert!(here.admits_superblock("fuse.sshfs", ["/mnt", "/srv/a/b"].into_iter()));
    assert!(!here.admits_superblock("fuse.sshfs", ["/mnt"].into_iter()));
    assert!(!here.admits_superblock("nfs4", ["/srv/a"].into_iter()));
}

#[test]
fn a_name_longer_than_the_kernel_keeps_still_matches() {
    let long = matcher(|filter| filter.comms = vec!["mount-observer-trace".to_owned()]);
    assert!(long.admits(&Subject {
        comm: "mount-observer-",
        ..subject()
    }));
    assert_eq!(long.filter().exact_comms(), Some(vec!["mount-observer-"]));
    let globbed = matcher(|filter| filter.comms = vec!["rs*".to_owned()]);
    assert_eq!(globbed.filter().exact_comms(), None);
}

#[test]
fn control_groups_hold_what_is_below_them() {
    let path = "system.slice/docker-4f1d22a0c6e94f1d22a0c6e94f1d22a0c6e94f1d22a0c6e94f1d22a0c6e94f1d.scope";
    let by_path = matcher(|filter| filter.cgroups = vec!["/user.slice/*".to_owned()]);
    assert!(by_path.admits_group("user.slice/user-1.slice/x") && !by_path.admits_group(path));
    let bare = matcher(|filter| filter.cgroups = vec!["system.slice".to_owned()]);
    assert!(bare.admits_group(path) && !bare.admits_group("user.slice"));
    let unit = matcher(|filter| filter.units = vec!["nginx.service".to_owned()]);
    assert!(unit.admits_group("/system.slice/nginx.service/worker"));
    assert!(!unit.admits_group("/system.slice/cron.service"));
    let container = matcher(|filter| filter.containers = vec!["4F1D22".to_owned()]);
    assert!(container.admits_group(path) && !container.admits_group("system.slice/docker.service"));
    // Whose group nobody could tell is not shown.
    assert!(!unit.admits(&subject()));
    assert!(unit.admits(&Subject {
        is_in_group: Some(true),
        ..subject()
    }));
}

#[test]
fn what_is_wrong_is_named_with_what_is_near() {
    let message = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        Matcher::new(&filter).unwrap_err().to_string()
    };
    let operation = |name: &str| message(&|filter| filter.operations = vec![name.to_owned()]);
    insta::assert_snapshot!(
        [
            operation("lookup"),
            operation("LOKUP"),
            operation("newfsstat"),
            operation("frobnicate"),
            errno("enotcon").unwrap_err().to_string(),
            message(&|filter| filter.mounts = vec!["[".to_owned()]),
            message(&|filter| filter.containers = vec!["web".to_owned()]),
        ]
        .join("\n")
    );
}

#[test]
fn errors_go_by_name_or_number() {
    assert_eq!(errno("ENOTCONN").unwrap(), Errno::ENOTCONN);
    assert_eq!(errno("107").unwrap(), Errno::ENOTCONN);
    assert_eq!(errno("NFS4ERR_DELAY").unwrap().to_string(), "NFS4ERR_DELAY");
    for text in ["0", "E", "", "99999999"] {
        assert!(errno(text).is_err(), "{text}");
    }
}

#[test]
fn a_name_that_two_families_share_means_both() {
    let filter = Filter {
        operations: vec!["LOOKUP".to_owned()],
        ..Filter::default()
    };
    let operations = filter.operation_set().unwrap();
    assert!(operations.contains(&Operation::fuse(1)));
    assert!(operations.contains(&Operation::nfs("LOOKUP", 0)));
    assert_eq!(operations.len(), 2);
}

#[test]
fn a_filter_can_be_written_down_and_read_back() {
    let filter = Filter {
        errnos: vec![Errno::EIO, Errno(4_000)],
        min_latency: Some(Duration::from_micros(17)),
        sample: NonZero::new(10).unwrap(),
        ..Filter::default()
    };
    let text = serde_json::to_string(&filter).unwrap();
    assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
    assert_eq!(
        serde_json::from_str::<Filter>("{}").unwrap(),
        Filter::default()
    );
}
