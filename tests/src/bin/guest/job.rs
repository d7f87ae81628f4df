//! Does the steps of `/guest/job` (`xtask/src/vm/job.rs`), one after the other.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{modules, talk::Talk};

/// For the rest of a program's output once it has ended: a daemon it left may hold the pipe.
const DRAIN: Duration = Duration::from_secs(2);

/// Does all steps and says how each went; an error when one failed.
pub(crate) fn run() -> Result<()> {
    let talk = Talk::open()?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the release")?;
    talk.say("kernel", release.trim_end());
    let job = std::fs::read_to_string("/guest/job").context("the job")?;
    let mut variables = Vec::new();
    let mut failed = 0_u32;
    for line in job.lines() {
        let words: Vec<_> = line.split('\t').map(unescaped).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match *words {
            ["env", name, value] => variables.push((name.to_owned(), value.to_owned())),
            ["module", name] => modules::load(name)?,
            ["run", name, ref command @ ..] => {
                failed += u32::from(!program(&talk, name, command, &variables)?);
            }
            _ => bail!("not understood: {line}"),
        }
    }
    talk.say("done", "");
    ensure!(failed == 0, "{failed} programs failed");
    Ok(())
}

/// Runs a program, and says whether it ended well.
fn program(
    talk: &Talk,
    name: &str,
    command: &[&str],
    variables: &[(String, String)],
) -> Result<bool> {
    let (program, arguments) = command.split_first().context("no program")?;
    talk.say("begin", name);
    let mut child = Command::new(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    // A pipe's reader sends one message, at its end.
    let (ended, ends) = sync_channel(2);
    relay(talk, "out", child.stdout.take(), ended.clone());
    relay(talk, "err", child.stderr.take(), ended);
    let status = child.wait()?;
    for _ in 0..2 {
        match ends.recv_timeout(DRAIN) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let code = status
        .code()
        .map_or("signal".to_owned(), |code| code.to_string());
    talk.say("end", &code);
    Ok(status.success())
}

fn relay(
    talk: &Talk,
    kind: &'static str,
    pipe: Option<impl Read + Send + 'static>,
    ended: SyncSender<()>,
) {
    let talk = talk.clone();
    thread::spawn(move || {
        let lines = pipe.map(|pipe| BufReader::new(pipe).split(b'\n'));
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            talk.say(kind, &String::from_utf8_lossy(&line));
        }
        // Nobody may wait for it any more.
        ended.send(()).ok();
    });
}

/// A word as it was before a backslash was put before a backslash, and tabs and newlines became
/// letters after one.
fn unescaped(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                other => other.unwrap_or('\\'),
            },
            letter => letter,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_word_is_what_it_was() {
        assert_eq!(unescaped(r"a b\n\tc\\n"), "a b\n\tc\\n");
        assert_eq!(unescaped("plain"), "plain");
    }
}
