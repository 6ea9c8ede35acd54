//! `status`: how the tracer itself is doing.

use super::{
    page::Page,
    style::{Paint, Style},
    words,
};

mod folding;

use crate::{
    api::{Hook, Loss, Reconciled, Stacks, Status},
    kernel::{plan::Degradation, segments::Standing},
};

/// A few lines: who traces what since when, what was lost, what is reduced.
pub(crate) fn status(status: &Status, style: &Style) -> String {
    let mut page = Page::new(style);
    page.parts(&head(status, style), "   ", 2).newline();
    page.parts(&held(status), " · ", 2).newline();
    let (paint, losses) = losses(status);
    page.wrap(paint, &losses, 2).newline();
    if status.source != "capture" {
        corrections(&mut page, status);
    }
    let reasons: Vec<_> =
        status.passed_over.iter().map(|loss| (loss.stage.as_str(), loss.count)).collect();
    if let Some(line) = passed_over(&reasons) {
        page.wrap(Paint::Plain, &line, 2).newline();
    }
    hooks(&mut page, status);
    segments(&mut page, &status.segments);
    folding::told(&mut page, &status.folding);
    stacks(&mut page, &status.stacks);
    let when = if status.source == "recording" { " when it was recorded" } else { "" };
    reduced(&mut page, &status.degradations, when);
    page.finish()
}

/// What is reduced: each reason once, with all that it takes away.
fn reduced(page: &mut Page<'_>, lacks: &[Degradation], when: &str) {
    for (number, lack) in lacks.iter().enumerate() {
        if lacks[..number].iter().any(|before| before.reason == lack.reason) {
            continue;
        }
        let alike: Vec<_> = lacks.iter().filter(|other| other.reason == lack.reason).collect();
        if let [one] = alike[..] {
            let text = format!("reduced{when}: {}: {}; {}", one.feature, one.reason, one.effect);
            page.at(2).wrap(Paint::Yellow, &text, 4).newline();
            continue;
        }
        page.at(2).wrap(Paint::Yellow, &format!("reduced{when}: {}", lack.reason), 4).newline();
        for one in alike {
            let text = format!("{}: {}", one.feature, one.effect);
            page.at(4).wrap(Paint::Yellow, &text, 6).newline();
        }
    }
}

fn head(status: &Status, style: &Style) -> Vec<(Paint, String)> {
    let since = words::moment(&status.tracing_since, "%Y-%m-%d %H:%M:%S", style);
    let source = match status.source.as_str() {
        "live" => "tracing".to_owned(),
        "recording" | "capture" => "replaying".to_owned(),
        other => other.to_owned(),
    };
    let mut parts = vec![(Paint::Bold, format!("tcp-trace {}", status.version))];
    // Who replays a file is gone by the time this is read.
    if status.source == "live" {
        parts.push((Paint::Plain, format!("pid {}", status.pid)));
    }
    parts.push((Paint::Plain, of_kernel(status)));
    parts.push((
        Paint::Plain,
        format!("{source} for {} (since {since})", words::span(status.uptime_seconds)),
    ));
    parts
}

fn of_kernel(status: &Status) -> String {
    match status.source.as_str() {
        "capture" => "a packet capture".to_owned(),
        _ => format!("kernel {}", status.kernel),
    }
}

/// Packets that told of no connection, in one line; `None` where all did.
pub(crate) fn passed_over(reasons: &[(impl AsRef<str>, u64)]) -> Option<String> {
    let words = |(reason, count): &(_, u64)| {
        let what = match AsRef::<str>::as_ref(reason) {
            "unknown_link" => "of a link type that is not read",
            "cut_headers" => "cut within their headers",
            "conversations_full" => "of more conversations than are held",
            "out_of_order" => "too late to be put in order",
            "fragments" => "IP fragments",
            "not_tcp" => "not TCP",
            "of_no_connection" => "of no connection that is known",
            "connected_to_itself" => "of sockets connected to themselves",
            "captured_twice" => "captured twice",
            other => other,
        };
        format!("{} {what}", words::count(*count))
    };
    let reasons: Vec<_> = reasons.iter().filter(|(_, count)| *count > 0).map(words).collect();
    (!reasons.is_empty()).then(|| format!("packets passed over: {}", reasons.join(", ")))
}

fn held(status: &Status) -> Vec<(Paint, String)> {
    let full = status.connections_limit > 0 && status.connections >= status.connections_limit;
    let limit = words::count(status.connections_limit);
    let room = if full { format!("FULL at {limit}") } else { format!("room for {limit}") };
    let connections = status.connections.saturating_sub(status.listeners);
    let connections = words::counted(connections, "connection");
    let listeners = match status.listeners {
        0 => String::new(),
        listeners => format!(" and {}", words::counted(listeners, "listener")),
    };
    let mut parts = vec![(
        if full { Paint::Red } else { Paint::Plain },
        format!("{connections}{listeners} held, {room}"),
    )];
    if status.gaps > 0 {
        parts.push((
            Paint::Yellow,
            format!("{} incomplete", words::counted(status.gaps, "timeline")),
        ));
    }
    if !status.netns.is_empty() {
        let inodes: Vec<_> = status.netns.iter().map(u32::to_string).collect();
        parts.push((Paint::Plain, format!("network namespaces {} only", inodes.join(" "))));
    }
    parts
}

fn losses(status: &Status) -> (Paint, String) {
    let lost: u64 = status.lost.iter().fold(0, |sum, loss| sum.saturating_add(loss.count));
    let late = match status.late_records {
        0 => String::new(),
        late => format!(", {} too late to be put in order", words::count(late)),
    };
    let events = words::counted(status.events, "event");
    if lost == 0 {
        // Whoever captured may have missed packets, and does not say so in the file.
        let lost = if status.source == "capture" { "" } else { ", nothing lost" };
        return (Paint::Plain, format!("{events}{lost}{late}"));
    }
    let places: Vec<_> = status
        .lost
        .iter()
        .filter(|loss| loss.count > 0)
        .map(|loss| format!("{} {}", loss.stage, words::count(loss.count)))
        .collect();
    let places = places.join(", ");
    (Paint::Yellow, format!("{events}, {} lost ({places}){late}", words::count(lost)))
}

/// What is attached. Why something is not, `doctor` tells; what that costs stands below.
fn hooks(page: &mut Page<'_>, status: &Status) {
    let backend = if status.backend.is_empty() { words::UNKNOWN } else { &status.backend };
    page.wrap(Paint::Plain, &format!("state changes by {backend}"), 2).newline();
    // The packet programs are told interface by interface.
    let is_packet = |hook: &Hook| matches!(hook.backend.as_str(), "xdp" | "tc");
    let mut attached: Vec<String> = Vec::new();
    for hook in status.hooks.iter().filter(|hook| hook.attached && !is_packet(hook)) {
        let name = format!("{} {}", hook.backend, hook.hook);
        // The second of a pair stands behind the first.
        match attached.last_mut().filter(|last| **last == name) {
            Some(last) => last.push_str(" (two programs)"),
            None => attached.push(name),
        }
    }
    if !attached.is_empty() {
        let text = format!("attached: {}", attached.join(", "));
        page.at(2).wrap(Paint::Plain, &text, 4).newline();
    }
}

/// Where segments are looked at, one interface a line where there is a reason to tell.
fn segments(page: &mut Page<'_>, standing: &Standing) {
    if let Some(reason) = &standing.reason {
        // What the host refuses stands among what is reduced.
        if !standing.refused {
            page.wrap(Paint::Plain, &format!("segments: not looked at ({reason})"), 2).newline();
        }
    }
    for row in standing.interfaces.iter().filter(|row| row.is_whole()) {
        let text = format!("segments: {} {} ({})", row.name, row.ways(), row.story());
        page.wrap(Paint::Plain, &text, 2).newline();
    }
}

/// What has become of user stacks, where they are taken.
fn stacks(page: &mut Page<'_>, stacks: &Stacks) {
    if !stacks.on && stacks.fates.is_empty() {
        return;
    }
    let fate = |loss: &Loss| {
        let what = match loss.stage.as_str() {
            "left_out" => "left out by the sample",
            "no_user_stack" => "of the kernel's own threads",
            "busy" => "while another was taken",
            "failed" => "not given by the kernel",
            "process_ended" => "whose process had ended",
            "unreadable" => "without names",
            "panicked" => "given up",
            "dropped" => "dropped: too many waited",
            "no_connection" => "of no connection that is known",
            "forgotten" => "forgotten",
            other => other,
        };
        format!("{} {what}", words::count(loss.count))
    };
    let fates: Vec<_> = stacks.fates.iter().map(fate).collect();
    let text = if fates.is_empty() { "none yet".to_owned() } else { fates.join(", ") };
    page.wrap(Paint::Plain, &format!("stacks: {text}"), 2).newline();
}

/// What snapshots have put right.
fn corrections(page: &mut Page<'_>, status: &Status) {
    let Reconciled { state, found, gone } = status.reconciled;
    let half_open = words::count(status.half_open);
    let text = if state + found + gone == 0 {
        format!("{half_open} half-open; snapshots of the kernel agree")
    } else {
        let [state, found, gone] = [state, found, gone].map(words::count);
        format!(
            "{half_open} half-open; snapshots have put right {state} states, found {found} connections and ended {gone}"
        )
    };
    page.wrap(Paint::Plain, &text, 2).newline();
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};
    use crate::kernel::{
        plan::Degradation,
        segments::{InterfaceStanding, Way},
    };

    fn well() -> Status {
        let hook = Hook {
            program: "state_tp_btf".to_owned(),
            hook: "inet_sock_set_state".to_owned(),
            backend: "tp_btf".to_owned(),
            attached: true,
            reason: None,
        };
        Status {
            version: "0.1.0".to_owned(),
            pid: 4242,
            kernel: "6.18.15".to_owned(),
            source: "live".to_owned(),
            tracing_since: "2026-03-01T08:46:01Z".to_owned(),
            uptime_seconds: 11_640.0,
            backend: "tp_btf".to_owned(),
            hooks: vec![hook],
            events: 12_345_678,
            connections: 812,
            connections_limit: 1_000_000,
            ..Status::default()
        }
    }

    #[test]
    fn a_tracer_that_is_well() {
        let text = "\
tcp-trace 0.1.0   pid 4242   kernel 6.18.15   tracing for 3 h 14 min (since 2026-03-01 08:46:01)
812 connections held, room for 1,000,000
12,345,678 events, nothing lost
0 half-open; snapshots of the kernel agree
state changes by tp_btf
  attached: tp_btf inet_sock_set_state";
        assert_eq!(status(&well(), &plain(100)), text);
    }

    fn interface(name: &str, ingress: Way, why: &str) -> InterfaceStanding {
        InterfaceStanding {
            name: name.to_owned(),
            ingress: Some(ingress),
            egress: Some(Way::Tcx),
            why: why.to_owned(),
            ..InterfaceStanding::default()
        }
    }

    #[test]
    fn where_segments_are_looked_at_is_told_with_the_reason() {
        let mut known = well();
        let hook = Hook { backend: "xdp".to_owned(), ..known.hooks[0].clone() };
        known.hooks.push(hook);
        known.segments.on = true;
        known.segments.interfaces = vec![
            interface("lo", Way::XdpGeneric, "loopback"),
            interface("eth0\x1b", Way::Tcx, "native XDP would re-create its rings"),
        ];
        let shown = status(&known, &plain(100));
        let told = "\
state changes by tp_btf
  attached: tp_btf inet_sock_set_state
segments: lo XDP generic in, TC out (loopback)
segments: eth0 TC (native XDP would re-create its rings)";
        assert!(shown.ends_with(told), "{shown}");
        known.segments = Standing::off();
        let shown = status(&known, &plain(100));
        assert!(shown.ends_with("segments: not looked at (--segments off)"), "{shown}");
    }

    #[test]
    fn a_tracer_in_trouble_says_where() {
        let mut troubled = Status {
            connections_limit: 812,
            gaps: 3,
            netns: vec![4_026_531_840],
            late_records: 2,
            lost: vec![
                Loss { stage: "output_enospc".to_owned(), count: 1_204 },
                Loss { stage: "quiet".to_owned(), count: 0 },
            ],
            degradations: vec![Degradation {
                feature: "owners".to_owned(),
                reason: "fexit refused\x1b[0m".to_owned(),
                effect: "accepted sockets are found through /proc".to_owned(),
            }],
            ..well()
        };
        troubled.hooks.push(Hook {
            program: "accept".to_owned(),
            hook: "inet_csk_accept".to_owned(),
            backend: "fexit".to_owned(),
            attached: false,
            reason: Some("EPERM".to_owned()),
        });
        let text = "\
tcp-trace 0.1.0   pid 4242   kernel 6.18.15
  tracing for 3 h 14 min (since 2026-03-01 08:46:01)
812 connections held, FULL at 812 - 3 timelines incomplete
  network namespaces 4026531840 only
12,345,678 events, 1,204 lost (output_enospc 1,204), 2 too late to be put in
  order
0 half-open; snapshots of the kernel agree
state changes by tp_btf
  attached: tp_btf inet_sock_set_state
  reduced: owners: fexit refused[0m; accepted sockets are found through /proc";
        assert_eq!(status(&troubled, &ascii(80)), text);
    }

    #[test]
    fn a_reason_is_said_once_and_a_pair_is_one() {
        let mut known = well();
        known.hooks = vec![known.hooks[0].clone(), known.hooks[0].clone()];
        let lack = |feature: &str, reason: &str, effect: &str| Degradation {
            feature: feature.to_owned(),
            reason: reason.to_owned(),
            effect: effect.to_owned(),
        };
        known.degradations = vec![
            lack("connect()", "fentry: EPERM", "lost: cgroup"),
            lack("cookies", "too old", "by address"),
            lack("accept()", "fentry: EPERM", "lost: worker"),
        ];
        let told = "\
  attached: tp_btf inet_sock_set_state (two programs)
  reduced: fentry: EPERM
    connect(): lost: cgroup
    accept(): lost: worker
  reduced: cookies: too old; by address";
        let shown = status(&known, &plain(100));
        assert!(shown.contains(told), "{shown}");
    }

    #[test]
    fn listeners_are_no_connections() {
        let known = Status { listeners: 12, ..well() };
        let shown = status(&known, &plain(100));
        assert!(shown.contains("\n800 connections and 12 listeners held, room for"), "{shown}");
    }

    #[test]
    fn what_a_recording_lacks_is_the_recorded_host_s() {
        let known = Status {
            source: "recording".to_owned(),
            degradations: vec![Degradation {
                feature: "connect()".to_owned(),
                reason: "fentry: EPERM".to_owned(),
                effect: "lost: cgroup".to_owned(),
            }],
            ..well()
        };
        let shown = status(&known, &plain(100));
        let line = "  reduced when it was recorded: connect(): fentry: EPERM; lost: cgroup";
        assert!(shown.ends_with(line), "{shown}");
    }

    #[test]
    fn colour_marks_losses() {
        let lossy = Status {
            lost: vec![Loss { stage: "merge".to_owned(), count: 1 }],
            source: "recording".to_owned(),
            backend: String::new(),
            ..well()
        };
        let shown = status(&lossy, &colour(120));
        assert!(shown.contains("\x1b[33m12,345,678 events, 1 lost (merge 1)\x1b[0m"), "{shown:?}");
        assert!(shown.contains("replaying for 3 h 14 min") && !shown.contains("pid"), "{shown:?}");
        assert!(shown.contains("state changes by -"), "{shown:?}");
    }
}
