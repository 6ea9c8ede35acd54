//! The runbooks of the alerts, built in: those of this very version are at hand where an alert sends
//! somebody.

use std::fmt::Write as _;

/// A runbook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runbook {
    /// The alert's name.
    pub(super) name: &'static str,
    /// Its text, Markdown.
    pub(super) text: &'static str,
}

macro_rules! runbook {
    ($name:literal) => {
        Runbook {
            name: $name,
            text: include_str!(concat!("../../../dashboards/runbooks/", $name, ".md")),
        }
    };
}

/// Every file of `dashboards/runbooks/`.
const RUNBOOKS: &[Runbook] = &[
    runbook!("TcpTraceAcceptQueueOverflow"),
    runbook!("TcpTraceCloseWaitLeak"),
    runbook!("TcpTraceCloseWaitLeakGrows"),
    runbook!("TcpTraceCloseWaitOld"),
    runbook!("TcpTraceConnectFailures"),
    runbook!("TcpTraceCoverageLow"),
    runbook!("TcpTraceDown"),
    runbook!("TcpTraceEventsLost"),
    runbook!("TcpTraceFdExhaustionAhead"),
    runbook!("TcpTraceFdExhaustionNear"),
    runbook!("TcpTraceHalfOpenFlood"),
    runbook!("TcpTraceNoPortLeft"),
    runbook!("TcpTracePortPressure"),
    runbook!("TcpTraceProbeMissing"),
    runbook!("TcpTraceResets"),
    runbook!("TcpTraceSnapshotsFail"),
    runbook!("TcpTraceStuckSockets"),
    runbook!("TcpTraceTableFull"),
    runbook!("TcpTraceTimeWaitOverflow"),
    runbook!("TcpTraceWebConfigWrong"),
];

/// The runbook of the alert `name`, with `.md` behind it or without.
pub(super) fn find(name: &str) -> Option<Runbook> {
    let name = name.strip_suffix(".md").unwrap_or(name);
    RUNBOOKS.iter().find(|runbook| runbook.name == name).copied()
}

/// A page that lists them.
pub(super) fn index() -> String {
    let mut items = String::new();
    for Runbook { name, .. } in RUNBOOKS {
        // Writing to a string does not fail.
        let _ = writeln!(items, "<li><a href=\"/runbooks/{name}\">{name}</a></li>");
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <title>tcp-trace: runbooks</title></head>\n<body>\n<h1>Runbooks</h1>\n\
         <p>What each alert means, and what to do.</p>\n<ul>\n{items}</ul>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn they_are_exactly_the_files_of_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/runbooks");
        let files: BTreeSet<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
            .collect();
        let built_in: BTreeSet<_> =
            RUNBOOKS.iter().map(|runbook| runbook.name.to_owned()).collect();
        assert_eq!(files, built_in);
        assert_eq!(RUNBOOKS.len(), built_in.len(), "one is there twice");
        for runbook in RUNBOOKS {
            assert!(runbook.text.starts_with("# "), "{}", runbook.name);
            assert!(index().contains(&format!("/runbooks/{}\"", runbook.name)));
        }
        assert!(find("TcpTraceDown").is_some() && find("TcpTraceDown.md").is_some());
        assert!(find("../runbooks/TcpTraceDown").is_none());
    }
}
