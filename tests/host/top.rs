//! The full screen in a real terminal: what it shows of a hang, and that it leaves nothing behind.

use std::{fs, path::Path, time::Duration};

use mount_observer_tests::{
    Need, Observer, Sandbox, host_test,
    needs::{program, say},
    observer::binary,
    process::{signal, threads, waits_in},
    tmux::Terminal,
    wait::within,
};
use nix::sys::signal::Signal;

use crate::{
    FAST, SOON, call,
    command_line::run,
    touchless::{ids_held_by, ids_in_kernel},
    wait_until_blocked, wait_until_ok,
};

const NEEDS: [Need; 2] = [Need::Tmux, Need::Bpftool];
/// Shown in the first line, whatever is observed.
const TITLE: &str = "mount-observer top";

/// Guests have no tmux, and a machine where the test counts has to.
fn in_a_terminal(body: impl FnOnce(&Sandbox) + Send + 'static) {
    let is_guest = std::env::var_os("MOUNT_OBSERVER_KERNEL").is_some();
    if is_guest && program("tmux").is_none() {
        let test = std::thread::current().name().unwrap_or("top").to_owned();
        return say(&format!("NOT HERE: {test}: the package tmux"));
    }
    host_test(&NEEDS, body);
}

/// Runs `top` in the terminal, with what its settings are before and afterwards in files.
fn start(sandbox: &Sandbox, terminal: &Terminal, options: &str) {
    let config = sandbox.path("top.toml");
    fs::write(&config, FAST).expect("write the configuration");
    fs::remove_file(sandbox.path("after")).ok();
    terminal.reset();
    terminal.run(&format!(
        "stty -a > {0}/before; {1} top --config={2} {options}; echo \"ended $?\"; stty -a > {0}/after",
        sandbox.path("").display(),
        binary().display(),
        config.display(),
    ));
}

/// The process of `top`: the shell's only child.
fn process_of(terminal: &Terminal) -> u32 {
    let shell = terminal.shell;
    within(SOON, "top runs", || {
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).ok()?;
        let pid: u32 = children.trim().parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        name.starts_with("mount-observer").then_some(pid)
    })
}

/// Keeps to one mount: other tests have theirs meanwhile.
fn only(terminal: &Terminal, mount: &Path) {
    terminal.text("/");
    terminal.wait_for("filter:");
    terminal.text(&mount.display().to_string());
    terminal.key("Enter");
    terminal.wait_until("one mount", |screen| {
        let mut lines = screen
            .lines()
            .skip_while(|line| !line.contains("MOUNT POINT"));
        let first = lines.nth(1).is_some_and(|line| line.starts_with("> "));
        first && lines.next().is_some_and(|line| line.trim().is_empty())
    });
}

/// It ended as it should, and the terminal is what it was.
#[track_caller]
fn expect_clean(sandbox: &Sandbox, terminal: &Terminal, code: i32) {
    terminal.wait_for(&format!("\nended {code}\n"));
    expect_settings(sandbox);
    assert!(terminal.is_clean(), "{}", terminal.screen());
}

/// The terminal's settings are what they were.
#[track_caller]
fn expect_settings(sandbox: &Sandbox) {
    let settings = |name: &str| fs::read_to_string(sandbox.path(name)).ok();
    within(SOON, "stty has told", || {
        settings("after").filter(|told| told.ends_with('\n'))
    });
    // A size that was changed meanwhile is the terminal's.
    let told = |name: &str| settings(name).map(|text| text.lines().skip(1).collect::<String>());
    assert_eq!(told("before"), told("after"));
}

#[test]
fn a_hang_and_its_recovery_are_shown_at_two_sizes() {
    in_a_terminal(|sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let terminal = Terminal::open(sandbox, 80, 24);
        let file = sandbox.path("session.mor").display().to_string();
        start(sandbox, &terminal, &format!("--record={file}"));
        terminal.wait_for(TITLE);
        only(&terminal, &mount.path);
        let top = process_of(&terminal);
        let programs = ids_held_by(top, "prog");
        assert!(!programs.is_empty(), "it attaches programs");

        mount.tell("READ hold");
        let reader = call(sandbox, "read", &mount.join("file"), &[]);
        wait_until_blocked(&reader);
        let list = terminal.wait_for("> hung");
        assert!(list.contains("1 request waits"), "{list}");
        terminal.key("Enter");
        terminal.wait_until("the request", |screen| {
            screen.contains("[1 requests (1)]") && screen.contains("READ")
        });
        terminal.text("2");
        // The list of the kernel's symbols may not have been read yet.
        let named = ["[2 blocked (1)]", "victim[", "request_wait_answer", "fuse_"];
        terminal.wait_until("the stack", |screen| {
            named.iter().all(|word| screen.contains(word))
        });
        terminal.text("4");
        terminal.wait_until("the wait in the heat map", |screen| {
            screen
                .lines()
                .any(|line| line.contains('<') && line.trim_end().ends_with('W'))
        });
        terminal.resize(200, 50);
        let all = terminal.wait_until("all panels", |screen| {
            [
                "1 requests (1)",
                "2 blocked (1)",
                "3 errors",
                "[4 latency]",
                "5 alerts (1)",
            ]
            .iter()
            .all(|word| screen.contains(word))
        });
        assert!(
            all.contains("request_wait_answer") && all.contains("goes on"),
            "{all}"
        );
        terminal.resize(60, 20);
        let small = terminal.wait_for("60x20 is too small: 80x24 is needed");
        assert!(small.contains("hung"), "{small}");
        terminal.resize(200, 50);

        mount.tell("READ answer");
        mount.tell("release");
        assert_eq!(reader.output_within(SOON), "ok 1\n");
        terminal.wait_until("the recovery", |screen| {
            screen.contains("ok for") && screen.contains("recovered")
        });
        terminal.resize(80, 24);
        terminal.key("Escape");
        terminal.wait_for("> ok");
        terminal.text("q");
        expect_clean(sandbox, &terminal, 0);
        within(SOON, "its programs are gone", || {
            programs.is_disjoint(&ids_in_kernel("prog")).then_some(())
        });
        // What was watched can be looked at again.
        let binary = binary().display().to_string();
        let replayed = run(sandbox, &[&binary, "replay", &file]);
        let alert = format!("hung {}", mount.path.display());
        assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
        assert!(replayed.stdout.contains(&alert), "{}", replayed.stdout);
    });
}

#[test]
fn a_daemon_is_asked_and_when_it_is_gone_that_is_said() {
    in_a_terminal(|sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        let terminal = Terminal::open(sandbox, 200, 50);
        start(
            sandbox,
            &terminal,
            &format!("--url http://127.0.0.1:{}", observer.port),
        );
        let title = format!("daemon at http://127.0.0.1:{}", observer.port);
        terminal.wait_for(&title);
        assert!(ids_held_by(process_of(&terminal), "prog").is_empty());
        only(&terminal, &mount.path);

        mount.server.stop();
        let blocked = call(sandbox, "stat", &mount.join("file"), &[]);
        wait_until_blocked(&blocked);
        let hung = terminal.wait_for("> hung");
        assert!(hung.contains("stopped"), "{hung}");
        terminal.text("p");
        terminal.wait_for("PAUSED");
        terminal.text("p");
        terminal.wait_until("the live screen", |screen| !screen.contains("PAUSED"));
        observer.process.signal(Signal::SIGKILL);
        let old = terminal.wait_for("OLD: this is");
        assert!(
            old.contains("hung?") && old.contains("nothing new for"),
            "{old}"
        );
        terminal.resize(80, 24);
        terminal.wait_until("the warning at the other size", |screen| {
            screen.contains("OLD: this is") && screen.contains("hung?")
        });
        terminal.key("C-c");
        expect_clean(sandbox, &terminal, 0);
        mount.server.resume();
        assert_eq!(blocked.output_within(SOON), "ok 1\n");
    });
}

#[test]
fn however_and_whenever_it_ends_the_terminal_is_what_it_was() {
    in_a_terminal(|sandbox| {
        let terminal = Terminal::open(sandbox, 80, 24);
        for end in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
            start(sandbox, &terminal, "--attach");
            terminal.wait_for(TITLE);
            let top = process_of(&terminal);
            let programs = ids_held_by(top, "prog");
            signal(top, end);
            expect_clean(sandbox, &terminal, 0);
            within(SOON, "its programs are gone", || {
                programs.is_disjoint(&ids_in_kernel("prog")).then_some(())
            });
        }
        // While something is typed, on another page, and before anything is.
        for keys in ["/q", "?", "o", ""] {
            start(sandbox, &terminal, "--attach");
            terminal.wait_for(TITLE);
            terminal.text(keys);
            terminal.key("C-c");
            expect_clean(sandbox, &terminal, 0);
        }
        // Nobody answers there: it says so and can be left.
        start(sandbox, &terminal, "--url 127.0.0.1:1");
        terminal.wait_for("NOTHING YET");
        terminal.text("q");
        expect_clean(sandbox, &terminal, 0);
    });
}

#[test]
fn ended_while_it_starts_it_has_not_changed_the_terminal_for_good() {
    in_a_terminal(|sandbox| {
        let terminal = Terminal::open(sandbox, 80, 24);
        for _ in 0..5 {
            start(sandbox, &terminal, "--attach");
            // It may not have got as far as to listen for signals.
            signal(process_of(&terminal), Signal::SIGTERM);
            let shown = terminal.wait_for("\nended ");
            let is_as_said = ["ended 0", "ended 143"]
                .iter()
                .any(|end| shown.contains(end));
            assert!(is_as_said, "{shown}");
            expect_settings(sandbox);
            assert!(terminal.is_clean(), "{}", terminal.screen());
        }
    });
}

#[test]
fn a_terminal_that_takes_nothing_keeps_nobody() {
    in_a_terminal(|sandbox| {
        let terminal = Terminal::open(sandbox, 80, 24);
        start(sandbox, &terminal, "--attach");
        terminal.wait_for(TITLE);
        let top = process_of(&terminal);
        terminal.flow(false);
        within(SOON, "it waits for the terminal", || {
            let mut threads = threads(top).into_iter();
            threads.find(|&tid| waits_in(tid).as_deref() == Some("wait_woken"))
        });
        signal(top, Signal::SIGTERM);
        within(SOON, "it is gone", || threads(top).is_empty().then_some(()));
        terminal.flow(true);
        // Its screen could not be left, for want of anybody to tell; its settings are as before.
        expect_settings(sandbox);
    });
}

#[test]
fn killed_it_leaves_nothing_in_the_kernel() {
    in_a_terminal(|sandbox| {
        let terminal = Terminal::open(sandbox, 80, 24);
        start(sandbox, &terminal, "--attach");
        terminal.wait_for(TITLE);
        let top = process_of(&terminal);
        let kinds = ["prog", "map", "link"].map(|kind| (kind, ids_held_by(top, kind)));
        signal(top, Signal::SIGKILL);
        for (kind, ids) in &kinds {
            within(
                Duration::from_secs(20),
                &format!("every {kind} is gone"),
                || ids.is_disjoint(&ids_in_kernel(kind)).then_some(()),
            );
        }
    });
}
