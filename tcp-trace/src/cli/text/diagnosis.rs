//! `diagnose`: what is wrong, worst first; the evidence under it, the next commands last.

use super::{
    page::Page,
    style::{Paint, Style},
    words,
};
use crate::api::{Diagnosis, Finding, Owner};

/// Where the words of a finding stand, behind their labels.
const TEXT: usize = 14;
/// Widest text: longer lines are hard to read, however wide the terminal.
const WIDEST: usize = 120;

/// The whole report.
pub(crate) fn diagnosis(told: &Diagnosis, style: &Style) -> String {
    let style = Style { width: style.width.min(WIDEST), ..style.clone() };
    let mut page = Page::new(&style);
    head(&mut page, told);
    for found in &told.findings {
        page.newline();
        finding(&mut page, found, &style);
    }
    if !told.findings.is_empty() {
        page.newline();
    }
    rest(&mut page, told);
    page.finish()
}

fn head(page: &mut Page<'_>, told: &Diagnosis) {
    let serious = told.findings.iter().filter(|found| found.severity == "serious").count() as u64;
    let findings = told.findings.len() as u64;
    let place = match told.source.as_str() {
        "recording" | "capture" => format!("in this {}", told.source),
        _ => format!("on {}", told.host),
    };
    let says = match (findings, serious) {
        (0, _) => format!("nothing wrong {place}"),
        (1, 1) => format!("1 finding {place}, and it is serious"),
        (_, 0) => format!("{} {place}, none serious", words::counted(findings, "finding")),
        (all, serious) if all == serious => {
            format!("{} {place}, all serious", words::counted(findings, "finding"))
        }
        _ => {
            let findings = words::counted(findings, "finding");
            format!("{findings} {place}, {serious} of them serious")
        }
    };
    let lost = match told.lost {
        // Whoever captured may have missed packets, and does not say so in the file.
        0 if told.source == "capture" => "what it lacks is not known".to_owned(),
        0 => "nothing lost".to_owned(),
        lost => format!("{} lost", words::counted(lost, "event")),
    };
    let did = if told.source == "capture" { "captured" } else { "traced" };
    let traced = format!("{did} for {}, {lost}", words::span(told.traced_seconds));
    page.parts(&[(Paint::Bold, says), (Paint::Dim, traced)], "   ", 2).newline();
}

fn finding(page: &mut Page<'_>, found: &Finding, style: &Style) {
    let (sign, paint) = match found.severity.as_str() {
        "serious" => ("✖", Paint::Red),
        _ => ("▲", Paint::Yellow),
    };
    let who = found.process.as_ref().map_or_else(String::new, |owner| process(owner) + " ");
    page.put(paint, sign).at(2).put(Paint::Bold, &format!("{}: ", found.title));
    page.wrap(Paint::Plain, &format!("{who}{}", found.says), 4).newline();
    for line in &found.evidence {
        labelled(page, &line.label, &line.text, Paint::Plain);
    }
    for advice in &found.advice {
        let (label, paint) = if advice.helps { ("do", Paint::Green) } else { ("not", Paint::Dim) };
        labelled(page, label, &advice.text, paint);
    }
    let unseen = found.unseen.join("; ");
    match (found.confidence.as_str(), unseen.as_str()) {
        ("high", "") => {}
        ("high", unseen) => labelled(page, "not seen", unseen, Paint::Dim),
        (little, "") => labelled(page, "unsure", &format!("{little} confidence"), Paint::Dim),
        (little, unseen) => {
            let text = format!("{little} confidence; not seen: {unseen}");
            labelled(page, "unsure", &text, Paint::Dim);
        }
    }
    let see = style.command.all(&found.see);
    if !see.is_empty() {
        let parts: Vec<_> = see.iter().map(|command| (Paint::Cyan, command)).collect();
        page.at(4).put(Paint::Dim, "see").at(TEXT).parts(&parts, "     ", TEXT).newline();
    }
}

/// A line with its label; one without begins where labels do.
fn labelled(page: &mut Page<'_>, label: &str, text: &str, paint: Paint) {
    if label.is_empty() {
        page.at(4).wrap(Paint::Plain, text, 4).newline();
    } else {
        page.at(4).put(paint, label).at(TEXT).wrap(Paint::Plain, text, TEXT).newline();
    }
}

/// Name, number and where it belongs.
fn process(owner: &Owner) -> String {
    let place = owner.unit.as_ref().or(owner.container.as_ref()).or(owner.pod.as_ref());
    let name = if owner.comm.trim().is_empty() { "?" } else { &owner.comm };
    match place {
        Some(place) => format!("{name} {} ({place})", owner.pid),
        None => format!("{name} {}", owner.pid),
    }
}

/// What is well, what only looks like trouble, and what could not be seen.
fn rest(page: &mut Page<'_>, told: &Diagnosis) {
    if !told.calm.is_empty() {
        page.put(Paint::Green, "✔").at(2).wrap(Paint::Plain, &told.calm.join(", "), 2).newline();
    }
    for note in &told.notes {
        page.put(Paint::Dim, "·").at(2).wrap(Paint::Plain, note, 2).newline();
    }
    for unseen in &told.unseen {
        let text = format!("not seen: {unseen}");
        page.put(Paint::Dim, "?").at(2).wrap(Paint::Dim, &text, 2).newline();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};
    use crate::api::{Advice, Line};

    fn line(label: &str, text: &str) -> Line {
        Line { label: label.to_owned(), text: text.to_owned(), connections: Vec::new() }
    }

    fn leak() -> Finding {
        Finding {
            kind: "close_wait_leak".to_owned(),
            title: "CLOSE_WAIT leak".to_owned(),
            severity: "serious".to_owned(),
            process: Some(Owner {
                unit: Some("tomcat.service".to_owned()),
                ..fixtures::owner("java", 2207)
            }),
            says: "does not close sockets whose peer has closed".to_owned(),
            count: 812,
            evidence: vec![
                line(
                    "",
                    "812 sockets older than 1 min, oldest 3 h 12 min, +4.2 per minute for 3 h",
                ),
                line("cause", "not_closed: nothing is left to read on all 812"),
            ],
            advice: vec![
                Advice { helps: true, text: "close the response".to_owned() },
                Advice { helps: false, text: "net.ipv4.tcp_fin_timeout".to_owned() },
            ],
            see: vec!["tcp-trace list --pid 2207".to_owned(), "tcp-trace show 3f9c".to_owned()],
            confidence: "high".to_owned(),
            ..Finding::default()
        }
    }

    fn told(findings: Vec<Finding>) -> Diagnosis {
        Diagnosis {
            host: "web-7".to_owned(),
            traced_seconds: 11_640.0,
            findings,
            calm: vec!["no connect failures".to_owned(), "no reset storm".to_owned()],
            ..Diagnosis::default()
        }
    }

    #[test]
    fn a_finding_has_its_answer_first_and_the_next_command_last() {
        let text = "\
1 finding on web-7, and it is serious   traced for 3 h 14 min, nothing lost

✖ CLOSE_WAIT leak: java 2207 (tomcat.service) does not close sockets whose peer
    has closed
    812 sockets older than 1 min, oldest 3 h 12 min, +4.2 per minute for 3 h
    cause     not_closed: nothing is left to read on all 812
    do        close the response
    not       net.ipv4.tcp_fin_timeout
    see       tcp-trace list --pid 2207     tcp-trace show 3f9c

✔ no connect failures, no reset storm";
        assert_eq!(diagnosis(&told(vec![leak()]), &fixtures::plain(80)), text);
    }

    #[test]
    fn a_healthy_host_gets_one_calm_line() {
        let text = "\
nothing wrong on web-7   traced for 3 h 14 min, nothing lost
✔ no connect failures, no reset storm";
        assert_eq!(diagnosis(&told(Vec::new()), &fixtures::plain(80)), text);
    }

    #[test]
    fn of_a_capture_nobody_knows_what_it_lacks() {
        let capture = Diagnosis { source: "capture".to_owned(), ..told(Vec::new()) };
        let text = diagnosis(&capture, &fixtures::plain(100));
        let head =
            "nothing wrong in this capture   captured for 3 h 14 min, what it lacks is not known";
        assert!(text.starts_with(head), "{text}");
    }

    #[test]
    fn what_is_not_sure_says_so() {
        let mut found = leak();
        (found.confidence, found.unseen) = ("low".to_owned(), vec!["whether it grows".to_owned()]);
        let mut told = told(vec![found]);
        told.lost = 7;
        told.notes = vec!["a pool\x1b[31m".to_owned()];
        let text = diagnosis(&told, &fixtures::ascii(100));
        assert!(text.contains("unsure    low confidence; not seen: whether it grows"), "{text}");
        assert!(text.contains("7 events lost") && !text.contains('\x1b'), "{text}");
        assert!(text.is_ascii(), "{text}");
    }
}
