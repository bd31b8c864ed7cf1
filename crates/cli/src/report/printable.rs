//! Text of others made fit for a terminal and for people's eyes.
//!
//! File names, endpoints and comments may hold anything: characters that move the cursor or colour the screen, and such
//! that turn the direction of writing, so that a line reads otherwise than it is. None of them gets through.

use std::borrow::Cow;

/// What stands in the place of such a character. It has as many bytes as most of those that turn the direction.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// A text without control characters but tabs and ends of lines, and without invisible ones that change how it reads.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hostile) {
        Cow::Owned(text.chars().map(|c| if is_hostile(c) { REPLACEMENT } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The same for a text into which places point: its characters stay where they are. Controls are left to whoever draws it.
pub fn printable_in_place(text: &str) -> Cow<'_, str> {
    let is_turned = |c: char| is_hostile(c) && c.len_utf8() == REPLACEMENT.len_utf8();
    if text.chars().any(is_turned) {
        Cow::Owned(text.chars().map(|c| if is_turned(c) { REPLACEMENT } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn is_hostile(c: char) -> bool {
    let is_format = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
    is_format || (c.is_control() && !matches!(c, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_text_is_replaced_and_the_rest_is_not() {
        assert_eq!(printable("a\u{1b}[31mb\r\u{202e}c\u{7}"), "a\u{fffd}[31mb\u{fffd}\u{fffd}c\u{fffd}");
        assert!(matches!(printable("Zoë, 東京\tok\n"), Cow::Borrowed(_)));
        let text = "x\u{200f}y\u{1b}";
        assert_eq!(
            (printable_in_place(text).len(), printable_in_place(text).as_ref()),
            (text.len(), "x\u{fffd}y\u{1b}")
        );
    }
}
