//! The commands that a text names next, as they must be typed to ask the same source again.

use std::path::Path;

const PROGRAM: &str = "tcp-trace";

/// How the command at hand was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    words: String,
    keeps_ids: bool,
}

impl Default for Command {
    fn default() -> Self {
        Self { words: PROGRAM.to_owned(), keeps_ids: true }
    }
}

impl Command {
    /// Of a daemon at a socket that was named.
    pub(crate) fn to_socket(socket: &Path) -> Self {
        Self { words: format!("{PROGRAM} --socket {}", quoted(socket)), keeps_ids: true }
    }

    /// Of a recording or a capture.
    pub(crate) fn replay(file: &Path) -> Self {
        Self { words: format!("{PROGRAM} replay {}", quoted(file)), keeps_ids: true }
    }

    /// Of a trace of its own, whose ids nobody knows after it.
    pub(crate) fn without_ids(self) -> Self {
        Self { keeps_ids: false, ..self }
    }

    /// `text`, a command of tcp-trace or of another program, for this source.
    pub(crate) fn next(&self, text: &str) -> String {
        match text.strip_prefix(PROGRAM).filter(|rest| rest.starts_with(' ')) {
            Some(rest) => format!("{}{rest}", self.words),
            None => text.to_owned(),
        }
    }

    /// Likewise of several that belong together. An id that will not hold gives way to what `list`
    /// is asked for: `show` takes that as well, and shows the oldest.
    pub(crate) fn all(&self, texts: &[String]) -> Vec<String> {
        let list = texts.iter().find_map(|text| text.strip_prefix("tcp-trace list "));
        let for_now = |text: &String| {
            let names_id = text.starts_with("tcp-trace show ") && !self.keeps_ids;
            if names_id {
                list.map(|filter| format!("{PROGRAM} show {filter}"))
            } else {
                Some(text.clone())
            }
        };
        texts.iter().filter_map(for_now).map(|text| self.next(&text)).collect()
    }
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see() -> Vec<String> {
        ["tcp-trace list --state close_wait --pid 7", "tcp-trace show 3f9c", "ls -l /proc/7/fd"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn the_next_command_asks_the_same_source() {
        assert_eq!(Command::default().all(&see()), see());
        let socket = Command::to_socket(Path::new("/tmp/a b.sock"));
        assert_eq!(
            socket.all(&see()),
            [
                "tcp-trace --socket '/tmp/a b.sock' list --state close_wait --pid 7",
                "tcp-trace --socket '/tmp/a b.sock' show 3f9c",
                "ls -l /proc/7/fd"
            ]
        );
        let replay = Command::replay(Path::new("x.pcapng"));
        assert_eq!(replay.next("tcp-trace show 3"), "tcp-trace replay x.pcapng show 3");
        assert_eq!(replay.next("tcp-tracer"), "tcp-tracer");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }

    #[test]
    fn an_id_that_will_not_hold_is_not_named() {
        let own = Command::default().without_ids();
        assert_eq!(
            own.all(&see()),
            [
                "tcp-trace list --state close_wait --pid 7",
                "tcp-trace show --state close_wait --pid 7",
                "ls -l /proc/7/fd"
            ]
        );
        assert_eq!(own.all(&see()[1..]), ["ls -l /proc/7/fd"]);
    }
}
