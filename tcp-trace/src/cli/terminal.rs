//! What the terminal can show.

use std::{env, io::IsTerminal as _};

use super::{
    args::When,
    text::{Command, Style},
};

/// Columns where the output is no terminal.
const NO_TERMINAL: usize = usize::MAX;

/// The style of standard output, for a command that was called like this.
pub(super) fn style(color: When, command: Command) -> Style {
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let wanted = match color {
        When::Always => true,
        When::Never => false,
        When::Auto => terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let width = terminal
        .then(|| rustix::termios::tcgetwinsize(&stdout).ok())
        .flatten()
        .map_or(NO_TERMINAL, |size| usize::from(size.ws_col).max(40));
    Style { color: wanted, unicode: unicode(), width, zone: jiff::tz::TimeZone::system(), command }
}

/// Whether the locale is a UTF-8 one, by the variables in their order of precedence.
fn unicode() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(|name| env::var(name).ok())
        .find(|value| !value.is_empty())
        .is_some_and(|locale| {
            let locale = locale.to_ascii_uppercase();
            locale.contains("UTF-8") || locale.contains("UTF8")
        })
}
