//! The handlers over real sockets, without privileges.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::{config::Config, daemon::mountinfo::OwnTable, render::fixture, superblock::Dev};

/// What the loop would hold.
struct Publisher {
    snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    heartbeats: Arc<Heartbeats>,
    _superblocks_max: watch::Sender<usize>,
}

fn publisher() -> (Publisher, Shared) {
    let (snapshot, seen) = watch::channel(None);
    let (superblocks_max, limit) = watch::channel(64);
    let heartbeats = Arc::new(Heartbeats::default());
    let shared = Shared::new(
        seen,
        limit,
        Arc::clone(&heartbeats),
        Arc::default(),
        Arc::default(),
        journal(),
    );
    let publisher = Publisher {
        snapshot,
        heartbeats,
        _superblocks_max: superblocks_max,
    };
    (publisher, shared)
}

/// One that keeps nothing beyond the process.
fn journal() -> Journal {
    let mut config = Config::default();
    config.storage.path = String::new();
    Journal::start(&config, OwnTable::open().unwrap())
}

async fn start(shared: Shared, connections: usize, idle_max: Duration) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = BoundedListener::with_bounds(listener, connections, idle_max);
    tokio::spawn(async move { axum::serve(listener, router(shared)).await.unwrap() });
    address
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    timeout(
        Duration::from_secs(10),
        stream.read_to_string(&mut response),
    )
    .await
    .unwrap()
    .unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn an_unknown_path_leads_to_the_index() {
    let (_publisher, shared) = publisher();
    let address = start(shared, 4, Duration::from_secs(10)).await;
    let answer = get(address, "/nowhere").await;
    assert_eq!(answer, (404, "not found: see /\n".to_owned()));
}

#[tokio::test]
async fn incidents_are_listed_and_found_by_their_id_also_without_a_journal() {
    let (publisher, shared) = publisher();
    let incident = fixture::incident(Wall(3_600_000_000_000), Dev(45));
    shared.incidents.journal().keep(incident.clone());
    let address = start(shared, 4, Duration::from_secs(10)).await;
    let (status, body) = get(address, "/api/v1/incidents?open=true&limit=3").await;
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &list["incidents"][0]["id"]),
        (200, &incident.id.to_string().into())
    );
    let (status, body) = get(address, "/api/v1/incidents/19700101T01").await;
    let found: crate::incident::Incident = serde_json::from_str(&body).unwrap();
    assert_eq!((status, found), (200, incident));
    assert_eq!(get(address, "/api/v1/incidents/2").await.0, 404);
    assert_eq!(get(address, "/api/v1/incidents?since=1").await.0, 400);
    drop(publisher);
}

#[tokio::test]
async fn nothing_is_claimed_before_the_first_look() {
    let (_publisher, shared) = publisher();
    let address = start(shared, 4, Duration::from_secs(10)).await;
    for path in ["/metrics", "/-/ready", "/-/healthy", "/api/v1/snapshot"] {
        assert_eq!(get(address, path).await.0, 503, "{path}");
    }
    assert_eq!(get(address, "/").await.0, 200);
    assert_eq!(get(address, "/nonsense").await.0, 404);
}

#[tokio::test]
async fn a_published_snapshot_is_served_in_every_form() {
    let (publisher, shared) = publisher();
    let address = start(shared, 4, Duration::from_secs(10)).await;
    publisher
        .snapshot
        .send_replace(Some(Arc::new(fixture::snapshot())));
    Heartbeats::beat(&publisher.heartbeats.observe, clock::now().wall);

    assert_eq!(get(address, "/-/ready").await, (200, "ready\n".to_owned()));
    assert_eq!(
        get(address, "/-/healthy").await,
        (200, "healthy\n".to_owned())
    );

    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    let dead = "mount_observer_superblock_state{superblock=\"0:52\",\
        mountpoint=\"/mnt/dead\u{1b}[2J\\nChecked 1 mount; 0 are dead\",\
        fstype=\"fuse.bindfs\",device=\"/srv/data\",state=\"dead\"} 1";
    assert!(text.lines().any(|line| line == dead), "{text}");
    for name in ["process_open_fds", "mount_observer_build_info"] {
        assert!(text.contains(&format!("# TYPE {name} gauge\n")), "{text}");
    }
    let infinite = "mount_observer_operation_duration_seconds_bucket{superblock=\"0:54\",\
        mountpoint=\"/mnt/ok\",fstype=\"fuse.bindfs\",device=\"/srv/data\",class=\"metadata\",\
        le=\"+Inf\"} 3";
    assert!(text.lines().any(|line| line == infinite), "{text}");

    let (status, json) = get(address, "/api/v1/snapshot").await;
    assert_eq!(status, 200);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["superblocks"][0]["state"], "dead");
    assert_eq!(value["superblocks"][1]["blocked_tasks"][0]["comm"], "stat");
}

#[tokio::test]
async fn clients_that_say_nothing_are_closed_and_then_others_are_served() {
    let (publisher, shared) = publisher();
    publisher
        .snapshot
        .send_replace(Some(Arc::new(fixture::snapshot())));
    let address = start(shared, 2, Duration::from_millis(50)).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/-/ready").await.0, 200);
    for mut stream in silent {
        let mut byte = [0];
        let read = timeout(Duration::from_secs(10), stream.read(&mut byte))
            .await
            .unwrap();
        assert_eq!(read.unwrap_or(0), 0);
    }
}

/// What a client sends does not keep its connection open, only what it is answered.
#[tokio::test]
async fn a_client_that_trickles_its_request_is_closed() {
    let (_publisher, shared) = publisher();
    let address = start(shared, 1, Duration::from_millis(200)).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let trickle = async {
        while slow.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), trickle)
        .await
        .expect("the connection is closed although bytes go on coming");
}

#[test]
fn a_taken_port_names_the_remedy() {
    let first = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "--serve").unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address, "--serve").unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "{error}");
    assert!(
        error.ends_with("choose another port with --serve"),
        "{error}"
    );
}

#[test]
fn every_metric_has_a_description_the_format_allows() {
    let collector =
        SnapshotCollector::new(Arc::new(fixture::snapshot()), 64, SelfReport::default());
    let described = prometheus::core::Collector::desc(&collector).len();
    assert_eq!(described, render::metrics::METRICS.len());
}
