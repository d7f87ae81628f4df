use super::*;

/// A hand in this process: what it runs is real.
fn hand() -> Hand {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || child::take_tasks(theirs));
    Hand::over(ours, || {}).unwrap()
}

fn run(script: &str, timeout_ms: u64) -> Task {
    Task::Run(Run {
        command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        environment: BTreeMap::from([("MOUNT_OBSERVER_KIND".to_owned(), "dead".to_owned())]),
        input: "{\"kind\":\"dead\"}\n".repeat(10_000),
        timeout_ms,
    })
}

#[test]
fn a_command_gets_its_input_and_nothing_of_ours() {
    let answer = hand().ask(run("wc -c; pwd; env | sort; exit 3", 10_000));
    let said = "160000\n/\nLANG=C.UTF-8\nMOUNT_OBSERVER_KIND=dead\n\
                PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\n";
    let expected = Answer::Exited {
        code: 3,
        said: said.to_owned(),
    };
    assert_eq!(answer.unwrap(), expected);
}

#[test]
fn a_command_that_hangs_is_killed_with_its_children_and_delays_nobody() {
    let hand = hand();
    let slow = hand.clone();
    let hung = thread::spawn(move || slow.ask(run("echo begun; sleep 600 & sleep 600", 300)));
    let quick = hand.ask(run("kill -TERM $$", 10_000)).unwrap();
    let said = String::new();
    assert_eq!(quick, Answer::Killed { signal: 15, said });
    let said = "begun\n".to_owned();
    assert_eq!(hung.join().unwrap().unwrap(), Answer::TimedOut { said });
}

#[test]
fn what_a_command_writes_is_cut_and_never_waited_for() {
    let answer = hand().ask(run("head -c 1000000 /dev/zero | tr '\\0' x", 10_000));
    let Answer::Exited { code: 0, said } = answer.unwrap() else {
        panic!("not ended");
    };
    assert_eq!(said.len(), 2048);
}

#[test]
fn what_cannot_be_started_and_what_is_too_much_is_said() {
    let hand = hand();
    let task = Task::Run(Run {
        command: vec!["/nonexistent".to_owned()],
        ..Run::default()
    });
    let why = "No such file or directory (os error 2)".to_owned();
    assert_eq!(hand.ask(task).unwrap(), Answer::Failed { why });

    let sleepers: Vec<_> = (0..TASKS_MAX + 4)
        .map(|_| {
            let hand = hand.clone();
            thread::spawn(move || hand.ask(run("sleep 600", 1_500)).unwrap())
        })
        .collect();
    let answers: Vec<_> = sleepers.into_iter().map(|it| it.join().unwrap()).collect();
    let busy = answers.iter().filter(|&answer| *answer == Answer::Busy);
    assert_eq!(busy.count(), 4, "{answers:?}");
}

#[test]
fn a_hand_that_is_gone_is_said_to_be() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let hand = Hand::over(ours, || {}).unwrap();
    drop(theirs);
    assert!(matches!(
        hand.ask(run("true", 100)),
        Err(HandError::Gone(_))
    ));
}
