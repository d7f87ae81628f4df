//! Node exporter and the Pushgateway, Debian's.

use mount_observer_tests::{
    Observer, host_test, http,
    receivers::{free_port, receiver},
    wait::{patience, poll, within},
};

use super::{LATER, SOON, count, healthy, kill, observe, take_away};

/// The first line of the metrics there with all these words.
fn line_with(port: u16, words: &[&str]) -> Option<String> {
    let (_, metrics) = http::get(port, "/metrics").ok()?;
    let mut lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .find(|line| words.iter().all(|word| line.contains(word)))
        .map(str::to_owned)
}

#[track_caller]
fn wait_for_line(observer: &Observer, port: u16, words: &[&str]) {
    let found = poll(patience(LATER), || line_with(port, words));
    assert!(
        found.is_some(),
        "no {words:?}; {:?}\n{}",
        http::get(port, "/metrics"),
        observer.log_text()
    );
}

#[test]
fn node_exporter_reads_the_file_and_what_was_dead_is_gone_from_it() {
    host_test(&[], |sandbox| {
        let test = "node_exporter_reads_the_file_and_what_was_dead_is_gone_from_it";
        let name = "prometheus-node-exporter";
        let Some(program) = receiver(test, name, name) else {
            return;
        };
        let directory = sandbox.directory("textfile");
        let port = free_port();
        let _exporter = sandbox.spawn(&program, |command| {
            command
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--collector.disable-defaults")
                .arg("--collector.textfile")
                .arg(format!(
                    "--collector.textfile.directory={}",
                    directory.display()
                ));
        });
        let config = format!(
            "[[textfile]]\ndirectory = \"{}\"\ninterval = \"2s\"\n",
            directory.display()
        );
        let observer = observe(sandbox, &config);
        let mount = healthy(sandbox, &observer, "mount");
        // What it is called is no label's end.
        let hostile = healthy(sandbox, &observer, "a\"}\n\\ 1\u{1b}[2J");
        kill(&hostile);
        let state = |state: &str| format!("state=\"{state}\"");
        let place = format!("mountpoint=\"{}\"", mount.path.display());
        let series = "mount_observer_superblock_state{";
        wait_for_line(&observer, port, &[series, &place, &state("ok"), "} 1"]);
        kill(&mount);
        wait_for_line(&observer, port, &[series, &place, &state("dead"), "} 1"]);
        wait_for_line(&observer, port, &["node_textfile_scrape_error 0"]);
        take_away(&mount);
        let gone = poll(patience(LATER), || {
            line_with(port, &[series, &place]).is_none().then_some(())
        });
        assert!(gone.is_some(), "{:?}", line_with(port, &[series]));
        wait_for_line(&observer, port, &["node_textfile_scrape_error 0"]);
    });
}

#[test]
fn a_pushgateway_has_what_was_always_pushed_after_an_outage_too() {
    host_test(&[], |sandbox| {
        let test = "a_pushgateway_has_what_was_always_pushed_after_an_outage_too";
        let name = "prometheus-pushgateway";
        let Some(program) = receiver(test, name, name) else {
            return;
        };
        let port = free_port();
        let config = format!(
            "[[pushgateway]]\nurl = \"http://127.0.0.1:{port}\"\ninstance = \"a/b\"\n\
             interval = \"2s\"\n"
        );
        let observer = observe(sandbox, &config);
        let mount = healthy(sandbox, &observer, "mount");
        // What it is called is no label's end.
        let hostile = healthy(sandbox, &observer, "a\"}\n\\ 1\u{1b}[2J");
        kill(&mount);
        let failed = observer.look(SOON, || {
            (count(&observer, "pushgateway", "failed") > 0).then_some(())
        });
        assert!(failed.is_some(), "{}", observer.log_text());
        let _gateway = sandbox.spawn(&program, |command| {
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        });
        within(LATER, "the gateway is there", || {
            http::get(port, "/metrics").ok()
        });
        let group = ["instance=\"a/b\"", "job=\"mount-observer\""];
        let with = |words: &[&'static str]| [&group[..], words].concat();
        wait_for_line(&observer, port, &with(&["total_mountpoints{", "} 2"]));
        wait_for_line(&observer, port, &with(&["dead_mountpoints{", "} 1"]));
        wait_for_line(
            &observer,
            port,
            &with(&["mount_observer_superblock_state{", "dead", "} 1"]),
        );
        kill(&hostile);
        wait_for_line(&observer, port, &with(&["dead_mountpoints{", "} 2"]));
        take_away(&mount);
        take_away(&hostile);
        wait_for_line(&observer, port, &with(&["dead_mountpoints{", "} 0"]));
    });
}
