//! Where the committed eBPF object comes from: a text file of `kind name value` lines.

use std::collections::BTreeMap;

/// What was built, from what, with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Provenance {
    /// Hash of the object.
    pub(crate) object: String,
    /// Hash of each source, by its path.
    pub(crate) sources: BTreeMap<String, String>,
    /// Version of each tool.
    pub(crate) tools: BTreeMap<String, String>,
}

const HEADING: &str = "\
# Where mount-observer.bpf.o comes from. Written by `cargo xtask build-ebpf`, compared by
# `cargo xtask check-ebpf`; never edited.
";

impl Provenance {
    /// The file's text.
    pub(crate) fn print(&self) -> String {
        let tools = self
            .tools
            .iter()
            .map(|(name, version)| format!("tool {name} {version}\n"));
        let sources = self
            .sources
            .iter()
            .map(|(path, hash)| format!("source {path} {hash}\n"));
        let object = format!("{HEADING}object sha256 {}\n", self.object);
        std::iter::once(object)
            .chain(tools)
            .chain(sources)
            .collect()
    }

    /// Reads the file's text; unknown lines make it unequal to any other.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.splitn(3, ' ');
            let (kind, name) = (
                words.next().unwrap_or_default(),
                words.next().unwrap_or_default(),
            );
            let value = words.next().unwrap_or_default().to_owned();
            match kind {
                "object" => parsed.object = value,
                "tool" => {
                    parsed.tools.insert(name.to_owned(), value);
                }
                _ => {
                    parsed.sources.insert(name.to_owned(), value);
                }
            }
        }
        parsed
    }

    /// The sources that differ, are new, or are gone.
    pub(crate) fn changed_sources(&self, now: &BTreeMap<String, String>) -> Vec<String> {
        let all = self.sources.keys().chain(now.keys());
        let mut changed: Vec<String> = all
            .filter(|path| self.sources.get(*path) != now.get(*path))
            .cloned()
            .collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Provenance {
        Provenance {
            object: "aa".to_owned(),
            sources: [
                ("a/b.rs".to_owned(), "11".to_owned()),
                ("c.toml".to_owned(), "22".to_owned()),
            ]
            .into(),
            tools: [(
                "rustc".to_owned(),
                "rustc 1.96.0 (abc 2026-05-25)".to_owned(),
            )]
            .into(),
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        assert_eq!(Provenance::parse(&sample().print()), sample());
    }

    #[test]
    fn changed_new_and_missing_sources_are_named() {
        let now = [
            ("a/b.rs".to_owned(), "12".to_owned()),
            ("d.rs".to_owned(), "33".to_owned()),
        ];
        assert_eq!(
            sample().changed_sources(&now.into()),
            ["a/b.rs", "c.toml", "d.rs"]
        );
        assert_eq!(
            sample().changed_sources(&sample().sources),
            Vec::<String>::new()
        );
    }
}
