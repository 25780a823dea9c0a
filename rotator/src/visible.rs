//! Which characters a person sees: names and messages are free text that strangers may have written.

use icu_properties::props::{BinaryProperty, DefaultIgnorableCodePoint, EnumeratedProperty, GeneralCategory};

/// Whether a character leaves a mark where it is printed, or is the blank between words.
///
/// Not so: control and format characters, which move a cursor or turn the direction of writing; separators of lines and
/// paragraphs; blanks that look like another one or like none; what Unicode lets every renderer leave out, such as tags,
/// fillers and variation selectors; and what has no character at all, or one that each font draws as it likes.
pub fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return c == ' ' || c.is_ascii_graphic();
    }
    let has_none = matches!(
        GeneralCategory::for_char(c),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::SpaceSeparator
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    );
    // The last are symbols and marks whose glyphs are blank: Braille, Khitan and musical notation.
    !has_none && !DefaultIgnorableCodePoint::for_char(c) && !['\u{2800}', '\u{16fe4}', '\u{1d159}'].contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_seen() {
        for c in "Az09 ~\"'<>&Zoë ß 中文 العربية עברית हिन्दी ไทย — … „“ ½ € ↑ █ 🔑".chars()
        {
            assert!(is_visible(c), "{c:?}");
        }
    }

    #[test]
    fn no_class_of_what_can_not_be_seen_is_left_out() {
        for (class, members) in [
            ("C0", "\0\u{7}\t\n\r\u{1b}\u{7f}"),
            ("C1", "\u{80}\u{85}\u{9b}\u{9f}"),
            ("turning the direction of writing", "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}"),
            ("zero width", "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{180e}"),
            ("other format characters", "\u{ad}\u{600}\u{6dd}\u{fff9}\u{110bd}\u{13430}\u{1d173}"),
            ("lines and paragraphs", "\u{2028}\u{2029}"),
            ("blanks", "\u{a0}\u{1680}\u{2000}\u{2003}\u{2007}\u{202f}\u{205f}\u{3000}"),
            ("fillers", "\u{115f}\u{1160}\u{3164}\u{ffa0}\u{34f}\u{17b4}\u{17b5}"),
            ("variation selectors", "\u{180b}\u{fe00}\u{fe0f}\u{e0100}\u{e01ef}"),
            ("tags", "\u{e0001}\u{e0020}\u{e0041}\u{e007f}"),
            ("reserved and ignorable", "\u{2065}\u{fff0}\u{e0000}\u{e0fff}"),
            ("private", "\u{e000}\u{f8ff}\u{f0000}\u{10fffd}"),
            ("unassigned", "\u{378}\u{fffe}\u{fdd0}\u{10ffff}"),
            ("blank glyphs", "\u{2800}\u{16fe4}\u{1d159}"),
        ] {
            for c in members.chars() {
                assert!(!is_visible(c), "{class}: {c:?}");
            }
        }
    }
}
