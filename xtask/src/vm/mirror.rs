//! Which mirror kernels come from: the one this machine's apt uses, and no other.

use anyhow::{Context, Result};

/// Where this machine gets Debian from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirrors {
    /// Holds `trixie`, `trixie-backports`, `experimental`.
    main: String,
    /// Holds `trixie-security`, where it is configured at all.
    security: Option<String>,
}

/// An entry of a sources file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

/// Debian 11, 12 and 13.
const RELEASES: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// What has newer kernels, in the main archive.
const NEWER: [&str; 2] = ["trixie-backports", "experimental"];

impl Mirrors {
    /// Reads sources files, each given with its name (sources.list(5)).
    pub(super) fn find(files: &[(String, String)]) -> Result<Self> {
        let sources: Vec<_> = files
            .iter()
            .flat_map(|(name, text)| {
                let is_stanzas = name.ends_with(".sources");
                if is_stanzas {
                    stanzas(text)
                } else {
                    lines(text)
                }
            })
            .filter(|source| {
                source
                    .components
                    .iter()
                    .any(|component| component == "main")
            })
            .collect();
        let holder = |is_wanted: &dyn Fn(&str) -> bool| {
            sources
                .iter()
                .find(|source| source.suites.iter().any(|suite| is_wanted(suite)))
                .and_then(|source| source.uris.first())
                .map(|uri| uri.trim_end_matches('/').to_owned())
        };
        let is_release = |suite: &str| RELEASES.contains(&suite.trim_end_matches("-updates"));
        let is_any = |suite: &str| is_release(suite) || ["sid", "testing"].contains(&suite);
        Ok(Self {
            main: holder(&is_any).context("apt's sources name no mirror of Debian")?,
            security: holder(&|suite| {
                suite
                    .strip_suffix("-security")
                    .is_some_and(|release| RELEASES.contains(&release))
            }),
        })
    }

    /// The main archive.
    pub(super) fn main(&self) -> &str {
        &self.main
    }

    /// A sources file for everything kernels are taken from. `options` go into each line.
    pub(super) fn sources(&self, options: &str) -> String {
        let releases = RELEASES.map(|release| match &self.security {
            Some(security) => format!("deb [{options}] {security} {release}-security main\n"),
            None => format!("deb [{options}] {} {release} main\n", self.main),
        });
        let newer = NEWER.map(|suite| format!("deb [{options}] {} {suite} main\n", self.main));
        releases.into_iter().chain(newer).collect()
    }
}

/// `deb [options] URI SUITE COMPONENT...` lines.
fn lines(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("deb") {
            continue;
        }
        let mut words = words.peekable();
        if words.peek().is_some_and(|word| word.starts_with('[')) {
            words.by_ref().find(|word| word.ends_with(']'));
        }
        sources.push(Source {
            uris: words.next().map(str::to_owned).into_iter().collect(),
            suites: words.next().map(str::to_owned).into_iter().collect(),
            components: words.map(str::to_owned).collect(),
        });
    }
    sources
}

/// Stanzas of `Key: value` lines. A list may go on in the next line, which then begins with a blank.
fn stanzas(text: &str) -> Vec<Source> {
    let mut sources = vec![Source::default()];
    let mut key = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            sources.push(Source::default());
            continue;
        }
        let mut values = line;
        if !line.starts_with([' ', '\t'])
            && let Some((name, rest)) = line.split_once(':')
        {
            name.to_ascii_lowercase().clone_into(&mut key);
            values = rest;
        }
        let Some(source) = sources.last_mut() else {
            continue;
        };
        let list = match key.as_str() {
            "uris" => &mut source.uris,
            "suites" => &mut source.suites,
            "components" => &mut source.components,
            _ => continue,
        };
        list.extend(values.split_ascii_whitespace().map(str::to_owned));
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "\
Types: deb
# a comment
URIs: http://mirror/debian/
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror/security
Suites:
 bookworm-security
Components: main contrib
";

    fn files(name: &str, text: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), text.to_owned())]
    }

    #[test]
    fn both_formats_name_the_same_mirrors() {
        let expected = Mirrors {
            main: "http://mirror/debian".to_owned(),
            security: Some("http://mirror/security".to_owned()),
        };
        assert_eq!(
            Mirrors::find(&files("debian.sources", STANZAS)).unwrap(),
            expected
        );
        let lines = "\
# deb http://old/debian bookworm main
deb http://vendor/tools stable main
deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib # why
deb-src http://mirror/source bookworm main
deb http://mirror/security/ bookworm-security main
";
        assert_eq!(
            Mirrors::find(&files("sources.list", lines)).unwrap(),
            expected
        );
    }

    #[test]
    fn without_a_mirror_of_security_updates_the_releases_themselves_serve() {
        let mirrors = Mirrors::find(&files("a.list", "deb http://m/d trixie main")).unwrap();
        let sources = mirrors.sources("arch=amd64");
        assert!(
            sources.starts_with("deb [arch=amd64] http://m/d bullseye main\n"),
            "{sources}"
        );
        assert_eq!(sources.lines().count(), 5);
    }

    #[test]
    fn a_machine_that_is_no_debian_has_no_mirror() {
        let ubuntu = files("a.list", "deb http://archive/ubuntu noble main");
        assert!(Mirrors::find(&ubuntu).is_err());
    }
}
