//! The lines of kernels that tcp-trace is held against, and where Debian keeps each.

use crate::archive::{Archive, Suite};

/// A line of kernels, such as 6.1: its newest release is tested.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number.
    pub(super) name: &'static str,
    /// Suites that have or had kernels of this line.
    pub(super) suites: &'static [Suite],
}

use Archive::{Main, Security};

/// From the oldest that is promised to work to the newest there is. A line whose home has moved on
/// may still be found in a suite next to it.
pub(super) static ALL: [Line; 5] = [
    Line { name: "5.10", suites: &[(Security, "bullseye-security"), (Main, "bullseye")] },
    Line { name: "6.1", suites: &[(Security, "bookworm-security"), (Main, "bookworm")] },
    Line { name: "6.12", suites: &[(Security, "trixie-security"), (Main, "trixie")] },
    Line { name: "6.18", suites: &[(Main, "trixie-backports")] },
    Line { name: "7.2", suites: &[(Main, "sid"), (Main, "forky"), (Main, "trixie-backports")] },
];

/// The line called `name`, for the command line.
pub(super) fn parse(name: &str) -> Result<&'static Line, String> {
    ALL.iter().find(|line| line.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|line| line.name).collect();
        format!("there is no such line; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_asked_for_by_number() {
        assert_eq!(parse("6.1").unwrap().suites[0].1, "bookworm-security");
        assert!(parse("6.2").unwrap_err().contains("5.10, 6.1, 6.12"));
    }
}
