//! rsyslogd, Debian's: over its socket, UDP and TCP.

use std::{fs, path::Path};

use mount_observer_tests::{
    Process, Sandbox, host_test,
    receivers::{free_port, receiver, unpacked},
    wait::within,
};

use super::{LATER, SOON, healthy, kill, observe, take_away, wait_for_text};

struct Ports {
    tcp: u16,
    udp: u16,
}

/// An rsyslogd that writes what comes over each way to a file of its own.
fn start(sandbox: &Sandbox, program: &Path, ports: &Ports) -> Process {
    let config = sandbox.path("rsyslog.conf");
    let path = |name: &str| sandbox.path(name).display().to_string();
    let text = format!(
        "global(workDirectory=\"{work}\")\n\
         module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         module(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
         template(name=\"all\" type=\"string\" string=\"%syslogseverity-text% %app-name% \
         %structured-data% %msg%\\n\")\n\
         ruleset(name=\"local\") {{ action(type=\"omfile\" file=\"{local}\" template=\"all\") }}\n\
         ruleset(name=\"udp\") {{ action(type=\"omfile\" file=\"{udp_file}\" template=\"all\") }}\n\
         ruleset(name=\"tcp\") {{ action(type=\"omfile\" file=\"{tcp_file}\" template=\"all\") }}\n\
         input(type=\"imuxsock\" Socket=\"{socket}\" UseSpecialParser=\"off\" ruleset=\"local\")\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{udp}\" ruleset=\"udp\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tcp}\" ruleset=\"tcp\")\n",
        work = path(""),
        local = path("local.log"),
        udp_file = path("udp.log"),
        tcp_file = path("tcp.log"),
        socket = path("log"),
        udp = ports.udp,
        tcp = ports.tcp,
    );
    fs::write(&config, text).expect("write");
    let libraries = unpacked().join("usr/lib/x86_64-linux-gnu");
    let modules = [
        "/usr/lib/x86_64-linux-gnu/rsyslog".into(),
        libraries.join("rsyslog"),
    ];
    let modules = modules.map(|path| path.display().to_string());
    let process = sandbox.spawn(program, |command| {
        command
            .env("LD_LIBRARY_PATH", &libraries)
            .arg("-n")
            .arg("-f")
            .arg(&config)
            .arg("-i")
            .arg(sandbox.path("rsyslog.pid"))
            .arg("-M")
            .arg(modules.join(":"));
    });
    within(LATER, "rsyslogd listens", || {
        std::net::TcpStream::connect(("127.0.0.1", ports.tcp)).ok()
    });
    process
}

#[test]
fn rsyslog_gets_what_fires_and_what_ended_each_way_and_after_an_outage_too() {
    host_test(&[], |sandbox| {
        let test = "rsyslog_gets_what_fires_and_what_ended_each_way_and_after_an_outage_too";
        let Some(program) = receiver(test, "rsyslog", "rsyslogd") else {
            return;
        };
        let ports = Ports {
            tcp: free_port(),
            udp: free_port(),
        };
        let config = format!(
            "[[syslog]]\naddress = \"{}\"\n\
             [[syslog]]\nname = \"udp\"\naddress = \"udp://127.0.0.1:{}\"\n\
             [[syslog]]\nname = \"tcp\"\naddress = \"tcp://localhost:{}\"\n",
            sandbox.path("log").display(),
            ports.udp,
            ports.tcp
        );
        let observer = observe(sandbox, &config);
        let mount = healthy(sandbox, &observer, "mount");
        kill(&mount);
        observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        let _rsyslogd = start(sandbox, &program, &ports);
        let failed = format!(
            "Mount failed health-check: {}: CRITICAL dead",
            mount.path.display()
        );
        for file in ["local.log", "tcp.log"] {
            let log = wait_for_text(&sandbox.path(file), &failed, LATER);
            assert!(
                log.contains("crit mount-observer [mountObserver@32473 status=\"firing\""),
                "{log}"
            );
            wait_for_text(&sandbox.path(file), "Checked 1 mount; 1 is dead", SOON);
        }
        take_away(&mount);
        for file in ["local.log", "udp.log", "tcp.log"] {
            wait_for_text(
                &sandbox.path(file),
                "RESOLVED dead (gone, unmounted)",
                LATER,
            );
            wait_for_text(&sandbox.path(file), "Checked 0 mounts; 0 are dead", SOON);
        }
    });
}
