//! Where the configuration comes from: a file, and flags that win over it.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::config::{Config, ConfigError};

/// Read where no file is named, and there is one.
const DEFAULT_FILE: &str = "/etc/mount-observer.toml";

/// Largest file read, in bytes; a configuration takes a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is wrong.
    #[error("{} is not a valid configuration:\n{problems}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong; shown whole, because it has several lines.
        problems: ConfigError,
    },
    /// A flag is wrong.
    #[error("the command line is not valid: {0}")]
    Flags(ConfigError),
}

/// Reads the configuration, at start and again on SIGHUP: the file named, else the default one
/// where it exists.
pub struct ConfigSource {
    path: Option<PathBuf>,
    flags: Box<dyn Fn(&mut Config) + Send + Sync>,
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSource")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ConfigSource {
    /// `flags` puts the command line over what the file says.
    pub fn new(path: Option<PathBuf>, flags: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        // Before the daemon leaves its working directory. Where there is none, nothing relative
        // can be read, and the error then names the path as it was given.
        let path = path.map(|path| std::path::absolute(&path).unwrap_or(path));
        Self {
            path,
            flags: Box::new(flags),
        }
    }

    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// Where the file lies.
    pub fn directory(&self) -> Option<&Path> {
        self.path().parent()
    }

    /// Reads the file, if there is one, and applies the flags.
    pub fn read(&self) -> Result<Config, ConfigFileError> {
        let path = self.path();
        let mut config = match read_file(path) {
            Ok(text) => Config::parse(&text).map_err(|problems| ConfigFileError::Invalid {
                path: path.to_owned(),
                problems,
            })?,
            Err(error) if self.path.is_none() && error.kind() == io::ErrorKind::NotFound => {
                Config::default()
            }
            Err(source) => {
                let path = path.to_owned();
                return Err(ConfigFileError::Read { path, source });
            }
        };
        (self.flags)(&mut config);
        config
            .validate(&|_, _| None)
            .map_err(ConfigFileError::Flags)?;
        Ok(config)
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(io::Error::other)
}

/// Reads a regular file of a sane size. A pipe or a device could keep us waiting, or never end.
pub(super) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read > FILE_BYTES_MAX) {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_means_the_directory_it_was_given_in() {
        let here = std::env::current_dir().unwrap();
        let source = ConfigSource::new(Some("observer.toml".into()), |_| {});
        assert_eq!(source.path, Some(here.join("observer.toml")));
    }

    #[test]
    fn errors_name_the_file_or_the_command_line() {
        let missing = ConfigSource::new(Some("/proc/self/nonexistent.toml".into()), |_| {});
        assert_eq!(
            missing.read().unwrap_err().to_string(),
            "cannot read /proc/self/nonexistent.toml"
        );
        let invalid = ConfigSource::new(Some("/proc/self/status".into()), |_| {});
        let said = invalid.read().unwrap_err().to_string();
        assert!(
            said.starts_with("/proc/self/status is not a valid configuration:\nline 1: "),
            "{said}"
        );
        let device = ConfigSource::new(Some("/dev/zero".into()), |_| {});
        let why = std::error::Error::source(&device.read().unwrap_err())
            .unwrap()
            .to_string();
        assert_eq!(why, "it is not a regular file");
        let flags = ConfigSource::new(None, |config| config.web.listen_address = "x".to_owned());
        let said = flags.read().unwrap_err().to_string();
        assert!(
            said.starts_with("the command line is not valid: web.listen_address"),
            "{said}"
        );
    }
}
