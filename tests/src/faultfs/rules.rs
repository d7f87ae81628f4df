//! What to do with each kind of request, and the commands that change it.

use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// A kind of request a rule can name. `SETLKW` is a `SETLK` that may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Lookup,
    Getattr,
    Open,
    Read,
    Write,
    Flush,
    Fsync,
    Release,
    Opendir,
    Readdir,
    Releasedir,
    Access,
    Statfs,
    Setlk,
    Setlkw,
}

impl Op {
    /// All of them, under the kernel's names.
    pub const ALL: [(Self, &str); 15] = [
        (Self::Lookup, "LOOKUP"),
        (Self::Getattr, "GETATTR"),
        (Self::Open, "OPEN"),
        (Self::Read, "READ"),
        (Self::Write, "WRITE"),
        (Self::Flush, "FLUSH"),
        (Self::Fsync, "FSYNC"),
        (Self::Release, "RELEASE"),
        (Self::Opendir, "OPENDIR"),
        (Self::Readdir, "READDIR"),
        (Self::Releasedir, "RELEASEDIR"),
        (Self::Access, "ACCESS"),
        (Self::Statfs, "STATFS"),
        (Self::Setlk, "SETLK"),
        (Self::Setlkw, "SETLKW"),
    ];
}

impl FromStr for Op {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|&(op, _)| op)
            .with_context(|| format!("no such request: {name}"))
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// It is answered.
    #[default]
    Answer,
    /// It is answered so much later; others are served meanwhile.
    Delay(Duration),
    /// It is answered when told to release.
    Hold,
    /// The answers to the next so many are lost; later ones are answered.
    Drop(u32),
    /// It is refused with this errno (positive).
    Fail(i32),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => f.write_str("answer"),
            Self::Delay(delay) => write!(f, "delay {}", delay.as_millis()),
            Self::Hold => f.write_str("hold"),
            Self::Drop(count) => write!(f, "drop {count}"),
            Self::Fail(errno) => write!(f, "fail {errno}"),
        }
    }
}

/// One line of the control protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `READ hold`, `* delay 3500`, `LOOKUP drop 1`, `READ fail 5`, `* answer`.
    Set {
        /// `None` for every kind (`*`).
        op: Option<Op>,
        /// The new rule.
        rule: Rule,
    },
    /// `release`: answer what is held.
    Release,
    /// `count READ`: how many have arrived.
    Count(Op),
    /// `counts`: how many of each kind have arrived, `READ 3 OPEN 1`; those of which none has are left
    /// out.
    Counts,
    /// `exit`: end the server at once, as a crash would.
    Exit,
    /// `eat 64`: take so many MiB of memory, and keep them.
    Eat(usize),
}

impl FromStr for Command {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split_whitespace().collect();
        Ok(match *words.as_slice() {
            ["release"] => Self::Release,
            ["exit"] => Self::Exit,
            ["counts"] => Self::Counts,
            ["eat", mebibytes] => Self::Eat(mebibytes.parse()?),
            ["count", op] => Self::Count(op.parse()?),
            [op, ref rule @ ..] => Self::Set {
                op: if op == "*" { None } else { Some(op.parse()?) },
                rule: rule_from(rule)?,
            },
            [] => bail!("empty command"),
        })
    }
}

fn rule_from(words: &[&str]) -> Result<Rule> {
    Ok(match *words {
        ["answer"] => Rule::Answer,
        ["hold"] => Rule::Hold,
        ["delay", ms] => Rule::Delay(Duration::from_millis(ms.parse()?)),
        ["drop", count] => Rule::Drop(count.parse()?),
        ["fail", errno] => {
            let errno = errno.parse()?;
            ensure!(
                (1..512).contains(&errno),
                "no errno a server may send: {errno}"
            );
            Rule::Fail(errno)
        }
        _ => bail!("no such rule: {}", words.join(" ")),
    })
}

/// The rules in force, the requests seen, and the answers held back.
#[derive(Debug, Default)]
pub struct Rules(Mutex<State>);

#[derive(Default)]
struct State {
    /// Rule and requests seen, in the order of [`Op::ALL`].
    ops: [(Rule, u64); Op::ALL.len()],
    held: Vec<Answer>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("ops", &self.ops)
            .field("held", &self.held.len())
            .finish()
    }
}

/// Sends one answer.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// What to do with one request now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answer,
    Delay(Duration),
    Hold,
    Lose,
    Fail(i32),
}

impl Rules {
    /// Replaces the rule of one kind of request, or of all.
    pub fn set(&self, op: Option<Op>, rule: Rule) {
        for (&(known, _), (current, _)) in Op::ALL.iter().zip(&mut self.lock().ops) {
            if op.is_none_or(|op| op == known) {
                *current = rule;
            }
        }
    }

    /// Requests of this kind that have arrived.
    pub fn count(&self, op: Op) -> u64 {
        Op::ALL
            .iter()
            .zip(&self.lock().ops)
            .find(|((known, _), _)| *known == op)
            .map_or(0, |(_, &(_, count))| count)
    }

    /// Requests of each kind that have arrived, as `counts` answers.
    pub fn counts(&self) -> String {
        let state = self.lock();
        let counted = Op::ALL.iter().zip(&state.ops);
        let words: Vec<_> = counted
            .filter(|&(_, &(_, count))| count > 0)
            .map(|((_, name), (_, count))| format!("{name} {count}"))
            .collect();
        words.join(" ")
    }

    /// Sends every answer held back, oldest first; how many.
    pub fn release(&self) -> usize {
        let held = std::mem::take(&mut self.lock().held);
        let count = held.len();
        for answer in held {
            answer();
        }
        count
    }

    /// Counts a request and decides about it.
    pub(super) fn judge(&self, op: Op) -> Verdict {
        let mut state = self.lock();
        let Some((_, (rule, count))) = Op::ALL
            .iter()
            .zip(&mut state.ops)
            .find(|((known, _), _)| *known == op)
        else {
            return Verdict::Answer;
        };
        *count += 1;
        match rule {
            Rule::Answer | Rule::Drop(0) => Verdict::Answer,
            Rule::Delay(delay) => Verdict::Delay(*delay),
            Rule::Hold => Verdict::Hold,
            Rule::Drop(left) => {
                *left -= 1;
                Verdict::Lose
            }
            Rule::Fail(errno) => Verdict::Fail(*errno),
        }
    }

    /// Keeps an answer until the next release.
    pub(super) fn hold(&self, answer: Answer) {
        self.lock().held.push(answer);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_reads_back_as_it_is_written() {
        for rule in [
            Rule::Answer,
            Rule::Delay(Duration::from_millis(3500)),
            Rule::Hold,
            Rule::Drop(1),
            Rule::Fail(5),
        ] {
            let command: Command = format!("READ {rule}").parse().unwrap();
            assert_eq!(
                command,
                Command::Set {
                    op: Some(Op::Read),
                    rule
                }
            );
        }
    }

    #[test]
    fn a_star_names_every_request_and_nonsense_is_refused() {
        assert_eq!(
            "* hold".parse::<Command>().unwrap(),
            Command::Set {
                op: None,
                rule: Rule::Hold
            }
        );
        for nonsense in [
            "",
            "READ",
            "read hold",
            "READ fail 0",
            "READ fail 512",
            "count",
            "READ hold 3",
        ] {
            assert!(nonsense.parse::<Command>().is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn exactly_as_many_answers_are_lost_as_asked_for() {
        let rules = Rules::default();
        rules.set(Some(Op::Lookup), Rule::Drop(2));
        let verdicts: Vec<_> = (0..3).map(|_| rules.judge(Op::Lookup)).collect();
        assert_eq!(verdicts, [Verdict::Lose, Verdict::Lose, Verdict::Answer]);
        assert_eq!(rules.judge(Op::Read), Verdict::Answer);
        assert_eq!((rules.count(Op::Lookup), rules.count(Op::Read)), (3, 1));
        assert_eq!(rules.counts(), "LOOKUP 3 READ 1");
    }
}
