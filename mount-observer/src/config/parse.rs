//! Reading a configuration: strict, and every complaint says where, what is wrong and what is
//! allowed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
};

use toml::de::{DeTable, DeValue};

use super::{
    Config,
    keys::{KEYS, Key, SECTIONS, Section},
};

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
        config.validate(&|key, index| {
            let mut values = values_of(table.get_ref(), key);
            values.nth(index)?.map(|span| line_of(text, span.start))
        })?;
        Ok(config)
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

/// Every key that is not in the table, with the nearest that is.
fn unknown_keys(text: &str, table: &DeTable<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, value) in table {
        let line = Some(line_of(text, name.span().start));
        let Some(section) = Section::find(name.get_ref()) else {
            let hint = hint_of_section(name.get_ref());
            let message = format!("unknown section or key `{}`{hint}", name.get_ref());
            problems.push(Problem { line, message });
            continue;
        };
        let Some(tables) = tables_of(section, value.get_ref()) else {
            let (name, header) = (section.name, section.header());
            let message = format!("`{name}` is a section: write {header} and its keys below");
            problems.push(Problem { line, message });
            continue;
        };
        for (name, _) in tables.into_iter().flatten() {
            let key: &str = name.get_ref();
            if section.keys().any(|known| known.name == key) {
                continue;
            }
            problems.push(Problem {
                line: Some(line_of(text, name.span().start)),
                message: format!(
                    "unknown key `{}.{key}`{}",
                    section.name,
                    hint_of_key(section, key)
                ),
            });
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// What may have been meant by a section that is none.
fn hint_of_section(name: &str) -> String {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return format!("; `{}` belongs into [{}]", key.name, key.section);
    }
    let known = SECTIONS.iter().map(|known| known.name);
    match nearest(name, known.clone()).and_then(Section::find) {
        Some(near) => format!("; did you mean {}?", near.header()),
        None => format!("; there are {}", list(known)),
    }
}

/// What may have been meant by a key that its section does not have.
fn hint_of_key(section: &Section, name: &str) -> String {
    if let Some(known) = KEYS.iter().find(|known| known.name == name) {
        return format!("; it belongs into [{}]", known.section);
    }
    let of_section = section.keys().map(|known| known.name);
    match nearest(name, of_section.clone()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; {} has {}", section.header(), list(of_section)),
    }
}

/// The tables of a section; `None` when it is written as something else.
fn tables_of<'a>(section: &Section, value: &'a DeValue<'a>) -> Option<Vec<&'a DeTable<'a>>> {
    if section.is_repeated {
        let DeValue::Array(all) = value else {
            return None;
        };
        all.iter().map(|one| table_of(one.get_ref())).collect()
    } else {
        Some(vec![table_of(value)?])
    }
}

fn table_of<'a>(value: &'a DeValue<'a>) -> Option<&'a DeTable<'a>> {
    if let DeValue::Table(keys) = value {
        Some(keys)
    } else {
        None
    }
}

/// What serde refused, said in the words of the table.
fn bad_value(text: &str, table: &DeTable<'_>, error: &toml::de::Error) -> ConfigError {
    let Some(span) = error.span() else {
        return one(None, first_line(error.message()));
    };
    let line = Some(line_of(text, span.start));
    let value_at = |key: &Key| {
        let mut values = values_of(table, key).flatten();
        values.find(|value| value.start <= span.start && span.end <= value.end)
    };
    let found = KEYS.iter().find_map(|key| Some((key, value_at(key)?)));
    let Some((key, value)) = found else {
        return one(line, first_line(error.message()));
    };
    let given = text
        .get(value)
        .map_or_else(String::new, |value| format!(", not {}", first_line(value)));
    one(line, format!("{} must be {}{given}", key.path(), key.takes))
}

/// Where the value of a key stands, in each table of its section.
fn values_of<'a>(
    table: &'a DeTable<'a>,
    key: &'a Key,
) -> impl Iterator<Item = Option<Range<usize>>> + 'a {
    let section = table.iter().find(|(name, _)| name.get_ref() == key.section);
    let tables = section.and_then(|(_, value)| {
        let section = Section::find(key.section)?;
        tables_of(section, value.get_ref())
    });
    tables.into_iter().flatten().map(|keys| {
        let value = keys.iter().find(|(name, _)| name.get_ref() == key.name);
        value.map(|(_, value)| value.span())
    })
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
            "[storage]\npath = \"relative\"\nmax_age = \"0s\"\nmax_bytes = 1",
            "[[syslog]]\naddress = \"udp://nowhere\"\ntimeout = \"0s\"",
            "[syslog]\naddress = \"/dev/log\"",
            "[[alertmanager]]\nresend_every = \"5m\"",
            "[[alertmanager]]\nurls = [\"http://a:9093\"]\nlabels = { \"a-b\" = \"c\" }",
            "[[webhook]]\nurl = \"http://a\"\n\n[[webhook]]\nurl = \"http://b\"\n",
            "[[webhook]]\nname = \"a\"\nurl = \"http://a\"\n[[webhook]]\nurl = \"b\"\nkinds = []",
            "[[exec]]\ncommand = [\"true\"]\nkinds = [\"dad\"]",
            "[[exec]]\ncommand = [\"true\"]\nmin_severity = \"critical\"\nmount_points = [\"[\"]",
            "[[textfile]]\ndirectory = \"here\"",
            "[[pushgateway]]\njobs = \"x\"",
            "[metrics]\nmax_superblocks = 0",
            "[recover]\nmount_point = \"/mnt/a\"",
            "[[recover]]\nmount_point = \"/mnt/a\"\nkinds = [\"dead\"]\nsteps = [\"verify\"]\n\
             [[recover]]\nmount_point = \"/\"\nkinds = [\"slow\"]\nsteps = [\"run umount\"]",
            "[[recover]]\nkinds = [\"dying\"]",
            "[storage]\npath = \"\"\n[recovery]\ndry_run = false\n\
             [[recover]]\nmount_point = \"/mnt//a/\"\nkinds = [\"dead\"]\nsteps = [\"verify\"]",
            "[[recover]]\nmount_pont = \"/mnt/a\"",
            "[[web]]",
            "[expect]\nmount_points = [\"srv\"]",
            "[storage]\npath = \"incidents\"",
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
