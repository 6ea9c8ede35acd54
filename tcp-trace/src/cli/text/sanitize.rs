//! Foreign text made harmless.

use std::borrow::Cow;

/// `text` without anything that could steer a terminal or disguise what stands beside it.
///
/// Line breaks and tabs become spaces, so that messages of several lines stay readable; all other
/// control characters, ESC among them, go, and so do marks that reorder or hide text.
pub(crate) fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_control(c) || is_disguise(c)) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\r' | '\t' => Some(' '),
            c if is_control(c) || is_disguise(c) => None,
            c => Some(c),
        })
        .collect::<String>()
        .into()
}

/// C0, DEL and C1: some terminals obey U+009B as they obey ESC [.
fn is_control(c: char) -> bool {
    c.is_control()
}

/// Characters without a shape of their own that change the look of others.
fn is_disguise(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let rows = [
            ("nginx", "nginx"),
            ("", ""),
            ("\x1b[31mred\x1b[0m", "[31mred[0m"),
            ("\x1b]0;title\x07", "]0;title"),
            ("a\u{9b}2Jb", "a2Jb"),
            ("over\rwritten\nline\ttab", "over written line tab"),
            ("\0\x08\x7fdel", "del"),
            ("exe\u{202e}gpj.sh", "exegpj.sh"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("d\u{e4}mon \u{4e16}\u{754c}", "d\u{e4}mon \u{4e16}\u{754c}"),
        ];
        for (foreign, shown) in rows {
            assert_eq!(sanitize(foreign), shown);
        }
    }

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(sanitize("java 2207"), Cow::Borrowed(_)));
    }
}
