//! Reading a configuration: strict, and every complaint says where, what is wrong and what is
//! allowed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::{Range, RangeInclusive},
};

use globset::Glob;
use toml::de::{DeTable, DeValue};

use super::{
    Config, Detect, Probes, Scope, Web,
    keys::{KEYS, Key, SECTIONS},
};

/// From one page, the smallest ring buffer there is, to 64 MiB.
const RING_BYTES: RangeInclusive<u32> = 4096..=64 << 20;

/// Everything wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Never empty.
    pub problems: Vec<Problem>,
}

/// One thing wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1; `None` when it concerns no single line.
    pub line: Option<usize>,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let Some(line) = problem.line {
                write!(f, "line {line}: ")?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads a configuration file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table = DeTable::parse(text).map_err(|error| {
            one(
                error.span().map(|span| line_of(text, span.start)),
                first_line(error.message()),
            )
        })?;
        let unknown = unknown_keys(text, table.get_ref());
        if !unknown.is_empty() {
            return Err(ConfigError { problems: unknown });
        }
        let config: Self =
            toml::from_str(text).map_err(|error| bad_value(text, table.get_ref(), &error))?;
        config.validate(&|key| {
            value_span(table.get_ref(), key).map(|span| line_of(text, span.start))
        })?;
        Ok(config)
    }

    /// Checks what types cannot say; `line` knows where a key stands.
    pub fn validate(&self, line: &dyn Fn(&Key) -> Option<usize>) -> Result<(), ConfigError> {
        let mut complaints = Complaints {
            line,
            problems: Vec::new(),
        };
        self.web.validate(&mut complaints);
        self.probes.validate(&mut complaints);
        self.scope.validate(&mut complaints);
        self.detect.validate(&mut complaints);
        if self.metrics.max_superblocks == 0 {
            complaints.add("metrics", "max_superblocks", "must be 1 or more");
        }
        if complaints.problems.is_empty() {
            Ok(())
        } else {
            let mut problems = complaints.problems;
            problems.sort_by_key(|problem| problem.line);
            Err(ConfigError { problems })
        }
    }
}

/// What validation found so far.
struct Complaints<'a> {
    line: &'a dyn Fn(&Key) -> Option<usize>,
    problems: Vec<Problem>,
}

impl Complaints<'_> {
    fn add(&mut self, section: &str, name: &str, what: &str) {
        let key = KEYS
            .iter()
            .find(|key| key.section == section && key.name == name);
        self.problems.push(Problem {
            line: key.and_then(self.line),
            message: format!("{section}.{name} {what}"),
        });
    }
}

impl Web {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        if listen_address(&self.listen_address).is_none() {
            let takes = takes("web", "listen_address");
            complaints.add("web", "listen_address", &format!("must be {takes}"));
        }
    }
}

impl Probes {
    fn validate(self, complaints: &mut Complaints<'_>) {
        if !RING_BYTES.contains(&self.ring_bytes) {
            let takes = takes("probes", "ring_bytes");
            complaints.add("probes", "ring_bytes", &format!("must be {takes}"));
        }
    }
}

impl Scope {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        for (name, patterns) in [
            ("include_fstypes", &self.include_fstypes),
            ("exclude_fstypes", &self.exclude_fstypes),
            ("include_mount_points", &self.include_mount_points),
            ("exclude_mount_points", &self.exclude_mount_points),
            ("include_sources", &self.include_sources),
            ("exclude_sources", &self.exclude_sources),
        ] {
            for pattern in patterns {
                if let Err(error) = Glob::new(pattern) {
                    let what = format!("has a bad pattern {pattern:?}: {}", error.kind());
                    complaints.add("scope", name, &what);
                }
            }
        }
    }
}

impl Detect {
    fn validate(&self, complaints: &mut Complaints<'_>) {
        for (name, duration) in [
            ("hung_after", self.hung_after),
            ("storm_window", self.storm_window),
            ("slow_p99", self.slow_p99),
            ("slow_window", self.slow_window),
        ] {
            if duration.is_zero() {
                complaints.add("detect", name, "must be more than \"0s\"");
            }
        }
        let (critical, warning) = (self.hung_critical_after, self.hung_after);
        if critical < warning {
            let what = format!("({critical:?}) must not be below detect.hung_after ({warning:?})");
            complaints.add("detect", "hung_critical_after", &what);
        }
        for (name, count) in [
            ("storm_errors", self.storm_errors),
            ("slow_min_samples", self.slow_min_samples),
        ] {
            if count == 0 {
                complaints.add("detect", name, "must be 1 or more");
            }
        }
    }
}

/// The address a `listen_address` stands for. Names are not resolved: a resolver may hang, and it
/// may live on a mount; `localhost` is 127.0.0.1.
pub fn listen_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = match host {
        "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return None,
    };
    Some(SocketAddr::new(host, port))
}

fn one(line: Option<usize>, message: String) -> ConfigError {
    ConfigError {
        problems: vec![Problem { line, message }],
    }
}

fn takes(section: &str, name: &str) -> &'static str {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
        .map_or("", |key| key.takes)
}

/// Every key that is not in the table, with the nearest that is.
fn unknown_keys(text: &str, table: &DeTable<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, value) in table {
        let section: &str = name.get_ref();
        let at = |span: Range<usize>| Some(line_of(text, span.start));
        if !SECTIONS.iter().any(|&(known, _)| known == section) {
            let known = SECTIONS.iter().map(|&(known, _)| known);
            let hint = KEYS
                .iter()
                .find(|key| key.name == section)
                .map(|key| format!("; `{}` belongs into [{}]", key.name, key.section))
                .or_else(|| {
                    nearest(section, known.clone()).map(|near| format!("; did you mean [{near}]?"))
                })
                .unwrap_or_else(|| format!("; there are {}", list(known)));
            problems.push(Problem {
                line: at(name.span()),
                message: format!("unknown section or key `{section}`{hint}"),
            });
            continue;
        }
        let DeValue::Table(keys) = value.get_ref() else {
            problems.push(Problem {
                line: at(name.span()),
                message: format!("`{section}` is a section: write [{section}] and its keys below"),
            });
            continue;
        };
        for (name, _) in keys {
            let key: &str = name.get_ref();
            if KEYS
                .iter()
                .any(|known| known.section == section && known.name == key)
            {
                continue;
            }
            let of_section = KEYS
                .iter()
                .filter(|known| known.section == section)
                .map(|known| known.name);
            let hint = KEYS
                .iter()
                .find(|known| known.name == key)
                .map(|known| format!("; it belongs into [{}]", known.section))
                .or_else(|| {
                    nearest(key, of_section.clone()).map(|near| format!("; did you mean `{near}`?"))
                })
                .unwrap_or_else(|| format!("; [{section}] has {}", list(of_section)));
            problems.push(Problem {
                line: at(name.span()),
                message: format!("unknown key `{section}.{key}`{hint}"),
            });
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// What serde refused, said in the words of the table.
fn bad_value(text: &str, table: &DeTable<'_>, error: &toml::de::Error) -> ConfigError {
    let Some(span) = error.span() else {
        return one(None, first_line(error.message()));
    };
    let line = Some(line_of(text, span.start));
    let key = KEYS.iter().find(|key| {
        value_span(table, key)
            .is_some_and(|value| value.start <= span.start && span.end <= value.end)
    });
    let Some(key) = key else {
        return one(line, first_line(error.message()));
    };
    let given = value_span(table, key)
        .and_then(|value| text.get(value))
        .map_or_else(String::new, |value| format!(", not {}", first_line(value)));
    one(line, format!("{} must be {}{given}", key.path(), key.takes))
}

fn value_span(table: &DeTable<'_>, key: &Key) -> Option<Range<usize>> {
    let (_, section) = table
        .iter()
        .find(|(name, _)| name.get_ref() == key.section)?;
    let DeValue::Table(keys) = section.get_ref() else {
        return None;
    };
    keys.iter()
        .find(|(name, _)| name.get_ref() == key.name)
        .map(|(_, value)| value.span())
}

/// Line of a byte offset, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.split(|&byte| byte == b'\n').count()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The nearest of `known`, unless even that one needs edits to more than a third of the letters.
fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (edits(unknown, name), name))
        .filter(|&(edits, name)| edits * 3 <= name.len().max(unknown.len()))
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, name)| name)
}

/// Levenshtein distance over bytes. `-` equals `_`: the flags are spelled with it.
fn edits(a: &str, b: &str) -> usize {
    let same = |x: u8, y: u8| x == y || (x == b'-' && y == b'_');
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.bytes().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(!same(x, y));
            left = replaced.min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> String {
        Config::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn every_complaint_says_where_what_and_what_instead() {
        let cases = [
            "[detect]\nhung_afer = \"5s\"",
            "[detect]\nhung-after = \"5s\"",
            "[scope]\n\nhung_after = \"5s\"\nnonsense = 1",
            "[detekt]\nhung_after = \"5s\"",
            "hung_after = \"5s\"",
            "[detect]\nhung_after = 5",
            "[detect]\nhung_after = \"five\"",
            "[detect]\nhung_after = \"0s\"\nhung_critical_after = \"0s\"",
            "[detect]\nhung_after = \"1m\"",
            "[detect]\nstorm_errors = -1",
            "[detect]\nstorm_errors = 0",
            "[log]\nlevel = \"loud\"",
            "[probes]\nstatx = true",
            "[scope]\ninclude_fstypes = \"nfs\"",
            "[scope]\ninclude_fstypes = [\"nfs\", 4]",
            "[scope]\nexclude_mount_points = [\"/mnt/[\"]",
            "[web]\nlisten_address = \"everywhere\"",
            "[web]\nlisten_address = \"localhost:70000\"",
            "[web\n",
            "web = 1",
            "[web]\n[web]\n",
            "[probes]\nring_bytes = 4095",
            "[metrics]\nmax_superblocks = 0",
        ];
        let said: Vec<String> = cases
            .iter()
            .map(|case| {
                format!(
                    "{case}\n    => {}",
                    complaints(case).replace('\n', "\n       ")
                )
            })
            .collect();
        insta::assert_snapshot!(said.join("\n\n"));
    }

    #[test]
    fn listen_addresses() {
        let parsed = |text| listen_address(text).map(|address| address.to_string());
        assert_eq!(parsed("127.0.0.1:9967").as_deref(), Some("127.0.0.1:9967"));
        assert_eq!(parsed("[::1]:1").as_deref(), Some("[::1]:1"));
        assert_eq!(parsed(":9967").as_deref(), Some("[::]:9967"));
        assert_eq!(parsed("localhost:9967").as_deref(), Some("127.0.0.1:9967"));
        assert_eq!(parsed("example.org:80"), None);
        assert_eq!(parsed("9967"), None);
    }
}
