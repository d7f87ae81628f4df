//! Building text.

use std::fmt::{Arguments, Write as _};

/// Appends formatted text.
pub(crate) fn append(out: &mut String, text: Arguments<'_>) {
    // A `String` as a writer never fails; a `Display` that does writes nothing more.
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a Display implementation failed");
}
