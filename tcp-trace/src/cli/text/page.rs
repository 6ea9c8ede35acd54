//! Text set in columns: what every renderer writes on.

use super::style::{Paint, Style};

/// Text under construction, with a cursor that knows its column whatever is painted.
///
/// All text put here is sanitized on its way in, so nothing foreign can reach the terminal raw.
/// Columns are reached only when something is put there: lines never end in spaces.
#[derive(Debug)]
pub(crate) struct Page<'s> {
    style: &'s Style,
    text: String,
    column: usize,
    target: usize,
}

impl<'s> Page<'s> {
    /// An empty page.
    pub(crate) fn new(style: &'s Style) -> Self {
        Self { style, text: String::new(), column: 0, target: 0 }
    }

    /// Where the next text will stand.
    pub(crate) fn column(&self) -> usize {
        self.column.max(self.target)
    }

    /// Moves to `column`, or one space on where the line is there already, so that one overlong
    /// cell shifts its neighbour and not the whole line.
    pub(crate) fn at(&mut self, column: usize) -> &mut Self {
        let space = usize::from(self.column > 0);
        self.target = column.max(self.column.saturating_add(space));
        self
    }

    /// Adds `text`.
    pub(crate) fn put(&mut self, paint: Paint, text: &str) -> &mut Self {
        let shown = self.style.shown(text);
        if shown.is_empty() {
            return self;
        }
        let spaces = self.target.saturating_sub(self.column);
        self.text.extend(std::iter::repeat_n(' ', spaces));
        self.text.push_str(&self.style.painted(paint, &shown));
        self.column += spaces + self.style.columns(&shown);
        self.target = self.column;
        self
    }

    /// Adds `text` so that it ends at column `end`, or one space on where there is no room.
    pub(crate) fn right(&mut self, end: usize, paint: Paint, text: &str) -> &mut Self {
        self.at(end.saturating_sub(self.style.columns(text))).put(paint, text)
    }

    /// Adds `text` word by word; lines after the first begin at column `hang`.
    pub(crate) fn wrap(&mut self, paint: Paint, text: &str, hang: usize) -> &mut Self {
        let shown = self.style.shown(text).into_owned();
        let mut run = String::new();
        for word in words(&shown) {
            let space = usize::from(!run.is_empty());
            let end = self.column() + self.style.columns(&run) + space + self.style.columns(&word);
            if end > self.style.width && (self.column() > hang || !run.is_empty()) {
                self.put(paint, &run).newline().at(hang);
                run.clear();
            }
            if !run.is_empty() {
                run.push(' ');
            }
            run.push_str(&word);
        }
        self.put(paint, &run)
    }

    /// Adds `parts` with `separator` between them, breaking lines between parts where they fit in
    /// one and within them where they do not.
    pub(crate) fn parts<P: AsRef<str>>(
        &mut self,
        parts: &[(Paint, P)],
        separator: &str,
        hang: usize,
    ) -> &mut Self {
        for (place, (paint, part)) in parts.iter().enumerate() {
            let part = part.as_ref();
            if place > 0 {
                let more = self.style.columns(separator) + self.style.columns(part);
                if self.column() + more > self.style.width {
                    self.newline().at(hang);
                } else {
                    self.put(Paint::Plain, separator);
                }
            }
            self.wrap(*paint, part, hang);
        }
        self
    }

    /// `text` in lines of at most `columns`, where its words let it.
    pub(crate) fn lines(&self, text: &str, columns: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in words(&self.style.shown(text)) {
            match lines.last_mut() {
                Some(line)
                    if self.style.columns(line) + 1 + self.style.columns(&word) <= columns =>
                {
                    line.push(' ');
                    line.push_str(&word);
                }
                _ => lines.push(word),
            }
        }
        lines
    }

    /// Whether `text`, put at `column`, would still be on this line.
    pub(crate) fn fits(&self, column: usize, text: &str) -> bool {
        column.max(self.column() + 1).saturating_add(self.style.columns(text)) <= self.style.width
    }

    /// Ends the line.
    pub(crate) fn newline(&mut self) -> &mut Self {
        self.text.push('\n');
        (self.column, self.target) = (0, 0);
        self
    }

    /// The text, without a last line break.
    pub(crate) fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end_matches('\n').len());
        self.text
    }
}

/// The words of `text`; a number and its unit stay together.
fn words(text: &str) -> impl Iterator<Item = String> {
    const UNITS: [&str; 11] = ["µs", "us", "ms", "s", "min", "h", "d", "B", "kB", "MB", "GB"];
    let mut rest = text.split_whitespace().peekable();
    std::iter::from_fn(move || {
        let mut word = rest.next()?.to_owned();
        if word.ends_with(|c: char| c.is_ascii_digit())
            && let Some(unit) =
                rest.next_if(|next| UNITS.contains(&next.trim_end_matches([',', ';', ':', '.'])))
        {
            word = word + " " + unit;
        }
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    #[test]
    fn an_overlong_cell_shifts_its_neighbour_only() {
        let style = fixtures::plain(80);
        let mut page = Page::new(&style);
        page.put(Paint::Plain, "123456789").at(5).put(Paint::Plain, "b");
        page.at(15).put(Paint::Plain, "c").right(25, Paint::Plain, "12 ms");
        assert_eq!(page.finish(), "123456789 b    c    12 ms");
    }

    #[test]
    fn lines_do_not_end_in_spaces() {
        let style = fixtures::plain(80);
        let mut page = Page::new(&style);
        page.put(Paint::Plain, "a").at(9).put(Paint::Plain, "").newline().at(3).newline();
        assert_eq!(page.finish(), "a");
    }

    #[test]
    fn long_text_hangs_and_keeps_numbers_with_their_units() {
        let style = fixtures::plain(20);
        let mut page = Page::new(&style);
        page.put(Paint::Plain, ">").at(4);
        page.wrap(Paint::Plain, "the peer waited for 61 µs, then averyveryverylongword it was", 4);
        let lines = [
            ">   the peer waited",
            "    for 61 µs, then",
            "    averyveryverylongword",
            "    it was",
        ];
        assert_eq!(page.finish(), lines.join("\n"));
    }

    #[test]
    fn paint_takes_no_columns() {
        let style = fixtures::colour(80);
        let mut page = Page::new(&style);
        page.put(Paint::Red, "ab").at(5).put(Paint::Plain, "c");
        assert_eq!(page.finish(), "\x1b[31mab\x1b[0m   c");
    }

    #[test]
    fn foreign_sequences_do_not_get_through() {
        let style = fixtures::plain(80);
        let mut page = Page::new(&style);
        page.put(Paint::Red, "\x1b[2J").wrap(Paint::Plain, "x\u{9b}y", 0);
        page.parts(&[(Paint::Plain, "\x07z")], "\x1b", 0);
        assert_eq!(page.finish(), "[2Jxyz");
    }
}
