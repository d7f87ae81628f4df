//! Names that the program knows by heart (probes, counters, parts), read back from a recording.
//!
//! They are `&'static str` everywhere else, because they are its own words. A recording may hold those
//! of another version: each new one is kept for the life of the process, up to a bound.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Names kept at most: a program knows some 150, and reads recordings of a few versions.
const NAMES_MAX: usize = 2_048;

/// Bytes of the longest name; what is out of sight is told in a sentence.
const NAME_MAX_BYTES: usize = 512;

/// What stands for a name beyond those bounds.
const ANOTHER: &str = "(another)";

static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The name for good.
pub(super) fn known(name: &str) -> &'static str {
    if name.len() > NAME_MAX_BYTES {
        return ANOTHER;
    }
    let mut names = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    if names.len() >= NAMES_MAX {
        return ANOTHER;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}
