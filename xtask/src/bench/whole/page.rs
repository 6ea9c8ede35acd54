//! All of it for people, and its place in `BENCHMARKS.md`.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result};

use super::{
    super::{cps, packets},
    daemon, goals,
    part::Part,
    record::Record,
};

/// What is between these lines is written anew.
const BEGINS: &str = "<!-- Measured: written by `cargo xtask bench`, from benchmarks.json. -->\n";
const ENDS: &str = "<!-- End of what is measured. -->\n";

/// The page with this `text` in the place of what was measured before.
pub(super) fn renewed(page: &str, text: &str) -> Result<String> {
    let lacks = |mark: &str| format!("the page lacks the line {}", mark.trim());
    let (before, rest) = page.split_once(BEGINS).with_context(|| lacks(BEGINS))?;
    let (_, after) = rest.split_once(ENDS).with_context(|| lacks(ENDS))?;
    Ok(format!("{before}{BEGINS}\n{}\n\n{ENDS}{after}", text.trim()))
}

/// The one picture of it, for those who read no further; nothing where nothing was measured.
pub(super) fn picture(record: &Record) -> Result<String> {
    let figures = record.part::<cps::Figures>(Part::Cps)?;
    Ok(figures.and_then(|figures| figures.picture()).unwrap_or_default())
}

/// Everything that is known.
pub(super) fn text(record: &Record) -> Result<String> {
    let mut text = format!("## Goals\n\n{}", goals::text(record)?);
    if let Some(figures) = record.part::<cps::Figures>(Part::Cps)? {
        let _ = write!(text, "\n## Connections kept\n\n{}", figures.text("###"));
    }
    if let Some(guests) = record.part::<BTreeMap<String, cps::Figures>>(Part::Vm)? {
        for figures in guests.values() {
            let _ = write!(
                text,
                "\n## Connections kept, in a guest\n\nA processor made of software (qemu without \
                 KVM), each guest alone on the host: only ratios mean anything.\n\n{}",
                figures.text("###")
            );
        }
    }
    if let Some(figures) = record.part::<daemon::Figures>(Part::Engine)? {
        let _ = write!(text, "\n## What the daemon itself takes\n\n{}", figures.text());
    }
    if let Some(figures) = record.part::<packets::Figures>(Part::Packets)? {
        let tables = packets::text(&figures, packets::Targets::MACHINE);
        let (machine, tables) = (figures.machine(), tables.trim());
        let _ = write!(text, "\n## Segments\n\n{machine}\n\n```text\n{tables}\n```\n");
    }
    if let Some(figures) = record.part::<super::super::diagnosis::Figures>(Part::Diagnosis)? {
        let tables = figures.text();
        let (machine, tables) = (figures.machine(), tables.trim());
        let _ = write!(
            text,
            "\n## {} leaked sockets, diagnosed\n\n{machine}\n\n```text\n{tables}\n```\n",
            figures.count()
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{
            cps::tests::{Outcome, figures, verdict},
            roster,
        },
        *,
    };

    /// Connections here and in a guest, each as its command writes it.
    fn record() -> Record {
        let kept = |share| Outcome::Measured(verdict(share, Some(0)));
        let lines = [("nothing", kept(1.0)), (roster::STATES, kept(0.97))];
        let here = figures(&["rst-1-apart", "fin-2-together"], &lines);
        let guests = BTreeMap::from([("6.1", figures(&["fin-1-together"], &lines))]);
        let mut record = Record::default();
        record.put(Part::Cps, &serde_json::to_string(&here).unwrap()).unwrap();
        record.put(Part::Vm, &serde_json::to_string(&guests).unwrap()).unwrap();
        record
    }

    #[test]
    fn a_record_makes_the_same_page_however_often() {
        let record = record();
        let text = text(&record).unwrap();
        let page = renewed(&format!("{BEGINS}{ENDS}"), &text).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        record.write(&path).unwrap();
        let again = super::text(&Record::read(&path).unwrap()).unwrap();
        assert_eq!(renewed(&page, &again).unwrap(), page);
        let headings: Vec<_> = page.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(
            headings,
            [
                "## Goals",
                "## Connections kept",
                "### RST, 1 thread, each on a CPU of its own",
                "### FIN, 2 threads, each with both ends on one CPU",
                "## Connections kept, in a guest",
                "### FIN, 1 thread, both on one CPU"
            ]
        );
        assert!(page.contains("in a guest with 6.1"), "{page}");
    }

    #[test]
    fn what_is_written_by_hand_stays() {
        let page = format!("# Title\n\n{BEGINS}old\n{ENDS}\n## Reasons\n");
        let once = renewed(&page, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGINS}\nnew\n\n{ENDS}\n## Reasons\n"));
        assert_eq!(renewed(&once, "new\n").unwrap(), once);
        assert!(renewed("# Title\n", "new").is_err());
        assert!(renewed(BEGINS, "new").is_err());
    }

    #[test]
    fn what_was_never_measured_has_no_section() {
        let text = text(&Record::default()).unwrap();
        assert!(text.contains("not measured") && !text.contains("## Connections"), "{text}");
    }
}
