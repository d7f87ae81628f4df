//! The steps of a recovery, as the configuration names them.

use std::{fmt, str::FromStr};

/// What can be done about a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `abort-connection`: through fusectl, which ends every request with an error and frees who
    /// waits (`fuse_conn_abort_write`, `fs/fuse/control.c`, v6.18).
    AbortConnection,
    /// `lazy-unmount`: `umount2` with `MNT_DETACH`, of what is on top there.
    LazyUnmount,
    /// `run COMMAND`: program and arguments; no shell.
    Run(Vec<String>),
    /// `verify`: waits until the mount is back in mountinfo with a living connection.
    Verify,
}

/// Text that is no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no step: there are \"abort-connection\", \"lazy-unmount\", \"verify\" and \
     \"run /absolute/path ARGUMENTS\", quoted as for a shell"
)]
pub struct StepError(String);

impl FromStr for Step {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        let error = || StepError(text.to_owned());
        match text.trim().split_once(char::is_whitespace) {
            None => match text.trim() {
                "abort-connection" => Ok(Self::AbortConnection),
                "lazy-unmount" => Ok(Self::LazyUnmount),
                "verify" => Ok(Self::Verify),
                _ => Err(error()),
            },
            Some(("run", command)) => {
                let words = shlex::split(command).ok_or_else(error)?;
                // Looked up nowhere: a search path may lead through a mount.
                let is_absolute = words.first().is_some_and(|word| word.starts_with('/'));
                is_absolute.then_some(Self::Run(words)).ok_or_else(error)
            }
            Some(_) => Err(error()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AbortConnection => f.write_str("abort-connection"),
            Self::LazyUnmount => f.write_str("lazy-unmount"),
            Self::Verify => f.write_str("verify"),
            Self::Run(words) => {
                f.write_str("run")?;
                words.iter().try_for_each(|word| {
                    let quoted = crate::text::escaped(word.as_bytes());
                    write!(f, " {}", crate::text::shell_quoted(&quoted))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_they_are_written() {
        for text in [
            "abort-connection",
            "lazy-unmount",
            "verify",
            "run /usr/bin/systemctl restart 'a b.service'",
        ] {
            assert_eq!(text.parse::<Step>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for text in [
            "",
            "run",
            "run systemctl restart x",
            "run /x 'open",
            "umount",
            "verify now",
        ] {
            assert!(text.parse::<Step>().is_err(), "{text}");
        }
    }
}
