//! Foreign text made harmless.

use std::{borrow::Cow, fmt::Write as _};

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

/// A JSON text that means the same, with escapes for whatever in it could do that. What stands outside
/// its strings must be plain, but for line breaks.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    let is_bad = |c: char| (is_control(c) && c != '\n') || is_disguise(c);
    if !json.contains(is_bad) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_bad(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
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
    fn json_means_the_same_and_steers_nothing() {
        for name in [
            "nginx",
            "\x1b[31m\u{9b}2J\x7f",
            "exe\u{202e}gpj",
            "\u{e0041}\u{feff}",
            "d\u{e4}mon\n\"\\",
        ] {
            let object = serde_json::json!({ "a": [name], name: 1 });
            for text in [object.to_string(), serde_json::to_string_pretty(&object).unwrap()] {
                let escaped = escape_json(&text);
                assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), object);
                assert_eq!(sanitize(&escaped.replace('\n', "")), escaped.replace('\n', ""));
            }
        }
    }

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(sanitize("java 2207"), Cow::Borrowed(_)));
        assert!(matches!(escape_json("{\n\"java\": 2207}"), Cow::Borrowed(_)));
    }
}
