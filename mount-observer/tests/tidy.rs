//! Rules about the sources that no compiler checks.

#![cfg(test)]

use std::path::{Path, PathBuf};

/// Lines of a source file, its tests included.
const LINES_MAX: usize = 600;

/// Packages whose sources are ours.
const PACKAGES: [&str; 5] = [
    "mount-observer",
    "mount-observer-common",
    "mount-observer-ebpf",
    "tests",
    "xtask",
];

/// Types that lie in maps, rings and rows as bytes.
const WIRE_TYPES: [&str; 18] = [
    "Call",
    "CauseRange",
    "FileRow",
    "FuseCall",
    "HolderRow",
    "InFlight",
    "NfsServer",
    "NfsWalk",
    "PathArguments",
    "PathRecord",
    "QueuedRow",
    "Record",
    "RiskRecord",
    "TaskRow",
    "TotalsKey",
    "TotalsValue",
    "TraceFilter",
    "TraceRecord",
];

/// Where the pure part may name them: what is handed in, and what takes it apart.
const WIRE_MODULES: [&str; 7] = [
    "src/input.rs",
    "src/decode.rs",
    "src/decode/event.rs",
    "src/decode/file.rs",
    "src/decode/tests.rs",
    "src/recording/layout.rs",
    "src/recording/tests/inputs.rs",
];

/// Ways out of the pure part.
const OUTSIDE: [&str; 8] = [
    "Instant::now",
    "SystemTime",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
];

struct Source {
    /// Relative to the workspace.
    path: String,
    text: String,
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    });
    assert_eq!(long.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn sources_are_ascii() {
    let odd = sources().into_iter().filter_map(|source| {
        let line = source.text.lines().position(|line| !line.is_ascii())?;
        Some(format!("{}:{}", source.path, line + 1))
    });
    assert_eq!(odd.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn every_module_says_what_it_is() {
    let is_test = |path: &str| path.ends_with("/tests.rs");
    let mute = sources()
        .into_iter()
        .filter(|source| !is_test(&source.path) && !source.text.starts_with("//!"));
    let mute: Vec<String> = mute.map(|source| source.path).collect();
    assert_eq!(mute, Vec::<String>::new());
}

#[test]
fn no_module_is_called_mod() {
    let named = sources().into_iter().map(|source| source.path);
    let named: Vec<String> = named.filter(|path| path.ends_with("/mod.rs")).collect();
    assert_eq!(named, Vec::<String>::new());
}

#[test]
fn wire_types_are_taken_apart_in_one_place() {
    let pure = pure_sources();
    let elsewhere = pure
        .iter()
        .filter(|source| !is_one_of(&source.path, &WIRE_MODULES));
    let found: Vec<String> = elsewhere
        .flat_map(|source| {
            let imported = imports(&source.text, "mount_observer_common::");
            let wire = imported
                .into_iter()
                .filter(|name| WIRE_TYPES.contains(&name.as_str()));
            wire.map(|name| format!("{}: {name}", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_pure_part_reads_nothing_by_itself() {
    let found: Vec<String> = pure_sources()
        .iter()
        .flat_map(|source| {
            let used = OUTSIDE.iter().filter(|way| source.text.contains(**way));
            used.map(|way| format!("{}: {way}", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

/// Sources built without default features.
fn pure_sources() -> Vec<Source> {
    let shell = ["src/daemon", "src/main.rs", "src/cli"];
    let is_pure = |path: &str| {
        let inside = path.strip_prefix("mount-observer/");
        inside.is_some_and(|path| {
            path.starts_with("src/") && !shell.iter().any(|part| path.starts_with(part))
        })
    };
    let pure: Vec<Source> = sources().into_iter().filter(|s| is_pure(&s.path)).collect();
    assert!(pure.len() > 20, "found only {}", pure.len());
    pure
}

fn is_one_of(path: &str, modules: &[&str]) -> bool {
    modules
        .iter()
        .any(|module| path == format!("mount-observer/{module}"))
}

/// Names that follow `prefix`, alone or in braces.
fn imports(text: &str, prefix: &str) -> Vec<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    text.match_indices(prefix)
        .flat_map(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            match rest
                .strip_prefix('{')
                .and_then(|list| list.split('}').next())
            {
                Some(list) => list.split(',').map(|name| word(name.trim())).collect(),
                None => vec![word(rest)],
            }
        })
        .collect()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    for package in PACKAGES {
        collect(&root, Path::new(package), &mut sources);
    }
    assert!(sources.len() > 50, "found only {}", sources.len());
    sources
}

#[expect(clippy::disallowed_methods, reason = "folders of this repository")]
fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let entries = std::fs::read_dir(root.join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| folder.join(entry.unwrap().file_name()))
        .collect();
    paths.sort();
    for path in paths {
        let kind = std::fs::metadata(root.join(&path)).unwrap();
        let is_built = path.file_name().is_some_and(|name| name == "target");
        if kind.is_dir() && !is_built {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(root.join(&path)).unwrap();
            let path = path.to_str().unwrap().to_owned();
            sources.push(Source { path, text });
        }
    }
}
