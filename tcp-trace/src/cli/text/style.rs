//! How text is to look: colours, characters, width, time zone.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Command, sanitize};

/// What the terminal can show; decided by the caller.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    /// Whether to paint. Colour repeats what the words say and never stands for them.
    pub(crate) color: bool,
    /// Whether other characters than ASCII can be shown.
    pub(crate) unicode: bool,
    /// Columns; `usize::MAX` where the output is no terminal.
    pub(crate) width: usize,
    /// The zone in which times are shown.
    pub(crate) zone: TimeZone,
    /// How the next command is to be called.
    pub(crate) command: Command,
}

/// A colour or weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As the terminal has it.
    #[default]
    Plain,
    /// Headings and what matters most.
    Bold,
    /// What may be overlooked.
    Dim,
    /// Failed.
    Red,
    /// Well.
    Green,
    /// To be looked at.
    Yellow,
    /// Under way.
    Cyan,
}

impl Paint {
    /// The parameter of the SGR sequence.
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Red => Some("31"),
            Self::Green => Some("32"),
            Self::Yellow => Some("33"),
            Self::Cyan => Some("36"),
        }
    }
}

impl Style {
    /// `text` as it can be shown: without control characters, in ASCII where nothing else goes.
    pub(crate) fn shown<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = sanitize(text);
        if self.unicode || text.is_ascii() {
            return text;
        }
        text.chars().fold(String::with_capacity(text.len()), |ascii, c| ascii + in_ascii(c)).into()
    }

    /// Columns that `text` takes.
    pub(crate) fn columns(&self, text: &str) -> usize {
        self.shown(text).width()
    }

    /// `text`, cut to `columns` with an ellipsis where it is longer.
    pub(crate) fn cut(&self, text: &str, columns: usize) -> String {
        let shown = self.shown(text);
        if shown.width() <= columns {
            return shown.into_owned();
        }
        let ellipsis = if self.unicode { "…" } else { ".." };
        let room = columns.saturating_sub(ellipsis.width());
        let mut kept = String::new();
        let mut taken = 0;
        for c in shown.chars() {
            taken += c.width().unwrap_or(0);
            if taken > room {
                break;
            }
            kept.push(c);
        }
        kept + ellipsis
    }

    /// `text` between the sequences that paint it; `text` must be [`Style::shown`] already.
    pub(super) fn painted(&self, paint: Paint, text: &str) -> String {
        match paint.code().filter(|_| self.color) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }
}

/// What stands for `c` on a terminal that has ASCII only.
fn in_ascii(c: char) -> &'static str {
    match c {
        '→' => "->",
        '←' => "<-",
        '·' | '─' => "-",
        '…' => "..",
        '≥' => ">=",
        '✖' => "x",
        '▲' => "!",
        '✔' => "+",
        'µ' | 'μ' => "u",
        '│' => "|",
        '◀' => "<",
        '▶' => ">",
        '└' => "`-",
        c => ascii_itself(c),
    }
}

/// `c` as a static string where it is printable ASCII, else a question mark.
fn ascii_itself(c: char) -> &'static str {
    const PRINTABLE: &str = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`\
                             abcdefghijklmnopqrstuvwxyz{|}~";
    let place = usize::try_from(u32::from(c)).unwrap_or(usize::MAX).checked_sub(0x20);
    place.and_then(|place| PRINTABLE.get(place..=place)).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    #[test]
    fn ascii_terminals_get_ascii() {
        let style = fixtures::ascii(80);
        let rows = [
            ("a → b ← c", "a -> b <- c"),
            ("··· 61 µs ···", "--- 61 us ---"),
            ("≥ 3 h", ">= 3 h"),
            ("d\u{e4}mon\u{1f980}", "d?mon?"),
            ("tilde ~ and\x1b brace }", "tilde ~ and brace }"),
        ];
        for (text, shown) in rows {
            assert_eq!(style.shown(text), shown);
        }
        for c in (0x20..0x7f).map(char::from) {
            assert_eq!(ascii_itself(c), c.to_string());
        }
    }

    #[test]
    fn width_is_what_the_terminal_shows() {
        let style = fixtures::plain(80);
        assert_eq!(style.columns("\u{4e16}\u{754c}"), 4);
        assert_eq!(style.columns("e\u{301}"), 1);
        assert_eq!(style.columns("\x1b[31m"), 4);
        assert_eq!(fixtures::ascii(80).columns("→"), 2);
    }

    #[test]
    fn cuts_end_in_an_ellipsis_and_fit() {
        let (unicode, ascii) = (fixtures::plain(80), fixtures::ascii(80));
        assert_eq!(unicode.cut("http-nio-8080", 13), "http-nio-8080");
        assert_eq!(unicode.cut("http-nio-8080", 8), "http-ni…");
        assert_eq!(ascii.cut("http-nio-8080", 8), "http-n..");
        assert_eq!(unicode.cut("\u{4e16}\u{754c}\u{4e16}", 4), "\u{4e16}…");
        assert_eq!(unicode.cut("ab", 1), "…");
    }

    #[test]
    fn paint_needs_colour() {
        assert_eq!(fixtures::plain(80).painted(Paint::Red, "x"), "x");
        assert_eq!(fixtures::colour(80).painted(Paint::Red, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(fixtures::colour(80).painted(Paint::Plain, "x"), "x");
    }
}
