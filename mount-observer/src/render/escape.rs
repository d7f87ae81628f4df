//! Text from outside made safe for a terminal and for a log of one line per event.

use std::fmt::{self, Write as _};

/// Shows a text with everything that could move a cursor, end a line, hide or reorder letters
/// spelled out: control characters as `\n`, `\t`, `\x1b`, the others as `\u{202e}`.
///
/// A backslash is left alone: paths with one stay readable, at the price of an ambiguity that
/// harms nobody.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                _ if letter.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(letter))?,
                _ if letter.is_control() || is_invisible(letter) => {
                    write!(f, "\\u{{{:x}}}", u32::from(letter))?;
                }
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// Line and paragraph separators, directional formatting and zero-width characters
/// (Unicode 16, general categories Zl, Zp and the Cf ones that change what is seen).
fn is_invisible(letter: char) -> bool {
    matches!(
        u32::from(letter),
        0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff
            | 0xfff9..=0xfffb | 0xe0000..=0xe007f
    )
}

/// The escaped text.
pub fn escaped(text: &str) -> String {
    Escaped(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_forges_a_line_survives() {
        assert_eq!(
            escaped("/mnt/a b\u{1b}[2J\n1 is dead\r\t\u{7f}\u{85}\u{202e}\u{200b}\u{e4}\\"),
            "/mnt/a b\\x1b[2J\\n1 is dead\\r\\t\\x7f\\u{85}\\u{202e}\\u{200b}\u{e4}\\"
        );
    }

    proptest! {
        #[test]
        fn escaped_text_has_one_line_and_no_control(text in any::<String>()) {
            let escaped = escaped(&text);
            prop_assert!(!escaped.chars().any(|letter| letter.is_control() || is_invisible(letter)));
        }

        #[test]
        fn printable_ascii_is_left_alone(text in "[ -~]*") {
            prop_assert_eq!(escaped(&text), text);
        }
    }
}
