//! What is said to a player and what it says, a line each.

use std::{fmt, str::FromStr};

/// Said to a player. The end of the lines means the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cue {
    /// Begin.
    Go,
    /// What it does slowly it may do as fast as it did at first.
    Hurry,
    /// Begin nothing new, and say what it came to.
    Stop,
}

/// Said by a player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The process is there.
    Ready,
    /// It listens, or has begun.
    Begun,
    /// So many attempts to connect have found no local port.
    NoPort(u64),
    /// So many connections of the pool have been replaced.
    Replaced(u64),
    /// It has stopped.
    Stopped,
    /// It cannot go on.
    Failed(String),
}

impl fmt::Display for Cue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Go => "go",
            Self::Hurry => "hurry",
            Self::Stop => "stop",
        })
    }
}

impl FromStr for Cue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "go" => Ok(Self::Go),
            "hurry" => Ok(Self::Hurry),
            "stop" => Ok(Self::Stop),
            _ => Err(format!("'{text}' is no cue")),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Begun => f.write_str("begun"),
            Self::NoPort(count) => write!(f, "no-port {count}"),
            Self::Replaced(count) => write!(f, "replaced {count}"),
            Self::Stopped => f.write_str("stopped"),
            Self::Failed(why) => write!(f, "failed {}", why.replace('\n', " ")),
        }
    }
}

impl FromStr for Report {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || format!("'{text}' is no report");
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let count = || rest.parse().map_err(|_| unknown());
        match word {
            "ready" if rest.is_empty() => Ok(Self::Ready),
            "begun" if rest.is_empty() => Ok(Self::Begun),
            "stopped" if rest.is_empty() => Ok(Self::Stopped),
            "no-port" => Ok(Self::NoPort(count()?)),
            "replaced" => Ok(Self::Replaced(count()?)),
            "failed" => Ok(Self::Failed(rest.to_owned())),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for cue in [Cue::Go, Cue::Hurry, Cue::Stop] {
            assert_eq!(cue.to_string().parse(), Ok(cue));
        }
        let failed = Report::Failed("no way: there".to_owned());
        let reports = [Report::Ready, Report::Begun, Report::NoPort(7), Report::Replaced(0)];
        for report in reports.into_iter().chain([Report::Stopped, failed]) {
            assert_eq!(report.to_string().parse(), Ok(report));
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_report_or_none(line in ".*") {
            if let Ok(report) = line.parse::<Report>() {
                prop_assert_eq!(report.to_string().parse(), Ok(report));
            }
            let _ = line.parse::<Cue>();
        }
    }
}
