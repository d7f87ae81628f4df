//! Building text for people: from bytes the kernel gave, which need not be UTF-8, and from numbers.

use std::{
    fmt::{Arguments, Write as _},
    time::Duration,
};

/// Appends formatted text.
pub(crate) fn append(out: &mut String, text: Arguments<'_>) {
    // A `String` as a writer never fails; a `Display` that does writes nothing more.
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a Display implementation failed");
}

/// As text; bytes that are no UTF-8 become U+FFFD.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// As text that can be read back: control characters and bytes that are no UTF-8 as `\xHH`, a
/// backslash as `\\`.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                text.push_str("\\\\");
            } else if c.is_control() {
                let mut utf8 = [0; 4];
                push_hex(&mut text, c.encode_utf8(&mut utf8).as_bytes());
            } else {
                text.push(c);
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        append(text, format_args!("\\x{byte:02x}"));
    }
}

/// The bytes that [`escaped`] shows so; what is no escape stands for itself.
pub fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let hex = after.strip_prefix(b"x").and_then(|after| after.get(..2));
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex, after.first()) {
            (b'\\', Some(byte), _) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            (b'\\', None, Some(b'\\')) => {
                bytes.push(b'\\');
                rest = after.get(1..).unwrap_or_default();
            }
            _ => bytes.push(first),
        }
    }
    bytes
}

/// A path, escaped as [`escaped`] does, as one word of a shell. Bytes that cannot stand in a line
/// need `$'...'`, which bash, zsh and ksh know.
pub fn shell_quoted(escaped: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !escaped.is_empty() && escaped.chars().all(is_plain) {
        escaped.to_owned()
    } else if escaped.contains('\\') {
        format!("$'{}'", escaped.replace('\'', r"\'"))
    } else {
        format!("'{}'", escaped.replace('\'', r"'\''"))
    }
}

/// A duration as people say it: `340 ms`, `6.2 s`, `4 min 10 s`, `3 h 5 min`.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    if seconds == 0 {
        format!("{} ms", age.as_millis())
    } else if seconds < 60 {
        format!("{seconds}.{} s", age.subsec_millis() / 100)
    } else if seconds < 3600 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {} min", seconds / 3600, seconds % 3600 / 60)
    }
}

/// `1 request`, `7 requests`.
pub fn count(number: u64, singular: &str) -> String {
    if number == 1 {
        format!("1 {singular}")
    } else {
        format!("{number} {singular}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_keeps_plain_text_and_marks_the_rest() {
        assert_eq!(escaped(b"/mnt/a b"), "/mnt/a b");
        assert_eq!(
            escaped("/mnt/\u{e4}\n\x1b[31m".as_bytes()),
            "/mnt/\u{e4}\\x0a\\x1b[31m"
        );
        assert_eq!(escaped(b"/mnt/\xff\\x41"), "/mnt/\\xff\\\\x41");
        assert_eq!(escaped("\u{9b}".as_bytes()), "\\xc2\\x9b");
    }

    #[test]
    fn what_was_escaped_comes_back() {
        for bytes in [
            &b"/mnt/a b"[..],
            b"/mnt/\xff\\x41\n",
            b"\\\\x",
            "\u{9b}\u{e4}".as_bytes(),
        ] {
            assert_eq!(unescaped(&escaped(bytes)), bytes);
        }
        assert_eq!(unescaped("a\\"), b"a\\");
        assert_eq!(unescaped("a\\xg0"), b"a\\xg0");
    }

    #[test]
    fn a_path_with_a_quote_and_a_space_stays_one_word() {
        assert_eq!(shell_quoted("/mnt/a"), "/mnt/a");
        assert_eq!(shell_quoted("/mnt/it's a"), r"'/mnt/it'\''s a'");
        assert_eq!(shell_quoted("/mnt/$(x)"), "'/mnt/$(x)'");
        assert_eq!(shell_quoted(r"/mnt/x\x0a'\xff"), r"$'/mnt/x\x0a\'\xff'");
    }

    #[test]
    fn ages_are_short() {
        let text = [340, 6_240, 59_999, 250_000, 11_100_000].map(Duration::from_millis);
        assert_eq!(
            text.map(age),
            ["340 ms", "6.2 s", "59.9 s", "4 min 10 s", "3 h 5 min"]
        );
    }
}
