//! Webhooks.

use std::{fs, net::TcpListener, time::Duration};

use mount_observer_tests::{
    host_test,
    receivers::{Webhooks, free_port},
};

use super::{LATER, SOON, count, expect_count, healthy, kill, observe, take_away};

#[test]
fn a_webhook_is_told_what_fires_and_the_end_with_its_duration() {
    host_test(&[], |sandbox| {
        let (plain, chat) = (Webhooks::start(), Webhooks::start());
        let file = |name: &str, text: &str| {
            let path = sandbox.path(name);
            fs::write(&path, text).expect("write");
            path.display().to_string()
        };
        let secret = file("secret", "Jefe\n");
        let headers = file("headers", "# a token\nAuthorization: Bearer x\n");
        let template = file(
            "template",
            "{\"text\": {{ line | tojson }}, \"icon\": \"{% if status == 'firing' %}red\
             {% else %}green{% endif %}\"}",
        );
        let config = format!(
            "[[webhook]]\nurl = \"http://127.0.0.1:{}/in\"\nsecret_file = \"{secret}\"\n\
             headers_file = \"{headers}\"\n\
             [[webhook]]\nname = \"chat\"\nurl = \"http://localhost:{}/\"\n\
             template_file = \"{template}\"\nkinds = [\"dead\"]\nmount_points = [\"*/mount\"]\n",
            plain.port, chat.port
        );
        let observer = observe(sandbox, &config);
        let mount = healthy(sandbox, &observer, "mount");
        kill(&mount);
        let fired = plain.wait_for(1, SOON);
        let notice = fired[0].json();
        assert_eq!(notice["version"], 1, "{notice:#}");
        assert_eq!(notice["status"], "firing");
        assert_eq!(notice["kind"], "dead");
        assert_eq!(notice["severity"], "critical");
        assert_eq!(notice["mountpoint"], mount.path.display().to_string());
        assert_eq!(notice["is_drill"], false);
        let line = notice["line"].as_str().expect("a line");
        assert!(line.starts_with("CRITICAL dead "), "{line}");
        assert_eq!(notice["summary"], "Checked 1 mount; 1 is dead");
        assert_eq!(fired[0].header("Authorization"), Some("Bearer x"));
        assert_eq!(fired[0].header("Content-Type"), Some("application/json"));
        let signature = fired[0].header("X-Mount-Observer-Signature-256");
        let is_signed = signature.is_some_and(|it| it.starts_with("sha256=") && it.len() == 71);
        assert!(is_signed, "{signature:?}");

        take_away(&mount);
        let ended = plain.wait_for(2, SOON)[1].json();
        assert_eq!(ended["status"], "resolved", "{ended:#}");
        assert_eq!(ended["resolution"], "unmounted");
        assert_eq!(ended["incident"], notice["incident"]);
        assert!(ended["duration_seconds"].as_f64() > Some(0.0), "{ended:#}");

        let told = chat.wait_for(2, SOON);
        assert_eq!(told[0].json()["text"], notice["line"]);
        let icons: Vec<_> = told.iter().map(|it| it.json()["icon"].clone()).collect();
        assert_eq!(icons, ["red", "green"]);
        expect_count(&observer, "webhook", "delivered", 2);
    });
}

#[test]
fn what_happens_while_a_receiver_is_down_is_told_in_order_when_it_is_back() {
    host_test(&[], |sandbox| {
        let port = free_port();
        let config = format!("[[webhook]]\nurl = \"http://127.0.0.1:{port}/\"\n");
        let observer = observe(sandbox, &config);
        let (one, two) = (
            healthy(sandbox, &observer, "one"),
            healthy(sandbox, &observer, "two"),
        );
        kill(&one);
        observer.wait_for_transition(&one.dev, "dead", "firing", SOON);
        kill(&two);
        observer.wait_for_transition(&two.dev, "dead", "firing", SOON);
        take_away(&one);
        observer.wait_for_transition(&one.dev, "dead", "resolved", SOON);
        let failed = observer.look(SOON, || {
            (count(&observer, "webhook", "failed") > 1).then_some(())
        });
        assert!(failed.is_some(), "{}", observer.log_text());

        let receiver = Webhooks::start_on(port, "200 OK");
        let told: Vec<String> = receiver
            .wait_for(3, LATER)
            .iter()
            .map(|it| {
                let notice = it.json();
                let point = notice["mountpoint"].as_str().unwrap_or_default().to_owned();
                let name = point.rsplit('/').next().unwrap_or_default();
                format!("{} {name}", notice["status"].as_str().unwrap_or_default())
            })
            .collect();
        assert_eq!(told, ["firing one", "firing two", "resolved one"]);
        expect_count(&observer, "webhook", "delivered", 3);
    });
}

#[test]
fn a_receiver_that_hangs_or_refuses_delays_nobody() {
    host_test(&[], |sandbox| {
        // Takes connections and never answers.
        let hung = TcpListener::bind("127.0.0.1:0").expect("bind");
        let hung_port = hung.local_addr().expect("an address").port();
        let refusing = Webhooks::start_on(free_port(), "403 Forbidden");
        let good = Webhooks::start();
        let config = format!(
            "[[webhook]]\nname = \"hung\"\nurl = \"http://127.0.0.1:{hung_port}/\"\n\
             timeout = \"60s\"\n\
             [[webhook]]\nname = \"refusing\"\nurl = \"http://127.0.0.1:{}/\"\n\
             [[webhook]]\nname = \"good\"\nurl = \"http://127.0.0.1:{}/\"\n",
            refusing.port, good.port
        );
        let observer = observe(sandbox, &config);
        let mount = healthy(sandbox, &observer, "mount");
        kill(&mount);
        good.wait_for(1, SOON);
        take_away(&mount);
        good.wait_for(2, SOON);
        refusing.wait_for(2, SOON);
        observer.look(SOON, || {
            (count(&observer, "refusing", "refused") == 2).then_some(())
        });
        expect_count(&observer, "refusing", "refused", 2);
        assert_eq!(count(&observer, "hung", "delivered"), 0);
        // The end waits for no receiver longer than a moment.
        observer.process.signal(nix::sys::signal::Signal::SIGTERM);
        let ended = observer.process.exited_within(Duration::from_secs(20));
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    });
}
