use std::{
    collections::HashSet,
    io::{ErrorKind, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use super::*;
use crate::{
    core::{event::Comm, tcp_state::TcpState},
    engine::figures::ProcessFigures,
    serve::fake,
};

fn text(figures: &Figures) -> String {
    in_format(Format::Text, figures)
}

fn in_format(format: Format, figures: &Figures) -> String {
    let process = ProcessReader::new(Path::new("/proc")).read();
    render(format, figures, &process, &WebFigures::default()).unwrap()
}

mod crowd;
mod first;
mod reference;

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

/// Asks Prometheus' own linter. Where it is not installed, that is said, and `cargo xtask test` fails
/// at its own step, which asks the linter about a running daemon.
fn lint(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match started {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("left out: promtool is not installed (Debian: prometheus)");
            return;
        }
        started => started.unwrap(),
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(said.is_empty() && output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Figures in which a process has each of `names`.
fn with_names(names: &[&str]) -> Figures {
    let processes = names.iter().map(|name| fake::process(name, 1, Some(5))).collect();
    Figures { processes, ..fake::figures() }
}

/// No two samples may have the same name and labels.
fn assert_unique(text: &str) {
    let mut seen = HashSet::new();
    for sample in samples(text) {
        let (series, _) = sample.rsplit_once(' ').unwrap();
        assert!(seen.insert(series), "twice: {series}");
    }
}

#[test]
fn prometheus_own_linter_has_no_complaint() {
    let text = text(&fake::figures());
    lint(&text);
    assert_unique(&text);
}

#[test]
fn every_metric_says_what_it_is_and_is_there_from_the_start() {
    let nothing = Figures {
        gauges: [0; 13],
        matrix: crate::core::population::Matrix::default(),
        statistics: crate::core::statistics::Statistics::default(),
        processes: Vec::new(),
        other_processes: ProcessFigures::default(),
        leaks: crate::core::diagnosis::Leaks::default(),
        ..fake::figures()
    };
    let text = text(&nothing);
    for metric in table() {
        assert!(
            text.contains(&format!("# HELP {} {}", metric.name, metric.help)),
            "{}",
            metric.name
        );
        assert!(metric.help.ends_with('.') && !metric.help.contains("  "), "{}", metric.help);
    }
    let names: HashSet<_> = table().map(|metric| metric.name).collect();
    assert_eq!(names.len(), table().count(), "a name is there twice");
    for series in [
        "tcp_trace_connections{state=\"close_wait\"} 0",
        "tcp_trace_state_transitions_total{from=\"listen\",to=\"syn_recv\"} 0",
        "tcp_trace_state_transitions_total{from=\"close_wait\",to=\"last_ack\"} 0",
        "tcp_trace_state_duration_seconds_count{state=\"time_wait\"} 0",
        "tcp_trace_connections_opened_total{direction=\"unknown\"} 0",
        "tcp_trace_connections_closed_total{reason=\"unknown\",closed_by=\"none\"} 0",
        "tcp_trace_handshake_duration_seconds_count{direction=\"inbound\"} 0",
        "tcp_trace_teardown_duration_seconds_count{closed_by=\"both\"} 0",
        "tcp_trace_process_connections{process=\"other\",state=\"close_wait\"} 0",
        "tcp_trace_close_wait_oldest_seconds{process=\"other\"} 0",
        "tcp_trace_connect_errors_total{error=\"eaddrnotavail\"} 0",
        "tcp_trace_connect_errors_total{error=\"other\"} 0",
        "tcp_trace_snapshots_total{result=\"cut\"} 0",
        "tcp_trace_coverage_ratio{counter=\"active_opens\"} 1",
        "tcp_trace_time_wait_started_total 0",
        "tcp_trace_time_wait_ended_total{reason=\"reused\"} 0",
        "tcp_trace_time_wait_ended_total{reason=\"unknown\"} 0",
        "tcp_trace_time_wait_overflow_total 0",
        "tcp_trace_half_open 0",
        "tcp_trace_half_open_expired_total 0",
        "tcp_trace_synack_retransmits_total 0",
        "tcp_trace_segments_placed_total{place=\"nobody\"} 0",
        "tcp_trace_segments_pending 0",
        "tcp_trace_resets_total{direction=\"sent\"} 0",
        "tcp_trace_segments_retransmitted_total 0",
        "tcp_trace_reconciled_total{kind=\"gone\"} 0",
        "tcp_trace_close_wait_leaked{process=\"other\",cause=\"not_closed\"} 0",
        "tcp_trace_close_wait_leaks_total{process=\"other\",cause=\"send_blocked\"} 0",
        "tcp_trace_fd_exhaustion_seconds{process=\"other\"} +Inf",
        "tcp_trace_diagnosis_findings{kind=\"close_wait_leak\"} 0",
        "tcp_trace_diagnosis_findings{kind=\"retransmits\"} 0",
        "tcp_trace_diagnosis_folded 0",
        "tcp_trace_time_wait_port_usage_ratio{destination=\"other\"} 0",
        "tcp_trace_web_requests_refused_total{reason=\"unauthenticated\"} 0",
        "tcp_trace_web_connections_dropped_total{reason=\"no_place\"} 0",
        "tcp_trace_web_config_reload_successful 1",
    ] {
        assert!(samples(&text).contains(&series), "{series}");
    }
    let closed =
        samples(&text).iter().filter(|s| s.starts_with("tcp_trace_connections_closed_")).count();
    assert_eq!(closed, 16 * 4);
}

#[test]
fn figures_arrive_where_they_belong() {
    let text = text(&fake::figures());
    for series in [
        "tcp_trace_connections{state=\"close_wait\"} 3",
        "tcp_trace_state_transitions_total{from=\"close\",to=\"syn_sent\"} 1",
        // Linux does not make this change, but it was counted.
        "tcp_trace_state_transitions_total{from=\"last_ack\",to=\"established\"} 1",
        "tcp_trace_connections_opened_total{direction=\"outbound\"} 1",
        "tcp_trace_connections_opened_total{direction=\"inbound\"} 1",
        "tcp_trace_state_duration_seconds_bucket{state=\"close_wait\",le=\"67.108864\"} 0",
        "tcp_trace_state_duration_seconds_bucket{state=\"close_wait\",le=\"134.217728\"} 1",
        "tcp_trace_state_duration_seconds_bucket{state=\"close_wait\",le=\"+Inf\"} 1",
        "tcp_trace_state_duration_seconds_sum{state=\"close_wait\"} 75",
        "tcp_trace_process_connections{process=\"java\",state=\"close_wait\"} 2",
        "tcp_trace_close_wait_oldest_seconds{process=\"java\"} 75",
        "tcp_trace_process_names_folded 2",
        "tcp_trace_close_wait_leaked{process=\"java\",cause=\"not_closed\"} 2",
        "tcp_trace_close_wait_leaked{process=\"java\",cause=\"not_read\"} 0",
        "tcp_trace_close_wait_leaked{process=\"other\",cause=\"not_read\"} 1",
        "tcp_trace_close_wait_leaks_total{process=\"perl\",cause=\"not_read\"} 1",
        "tcp_trace_fd_exhaustion_seconds{process=\"java\"} 3600",
        "tcp_trace_fd_exhaustion_seconds{process=\"nginx\"} +Inf",
        "tcp_trace_time_wait_port_usage_ratio{destination=\"10.0.0.9:8080\"} 0.86",
        "tcp_trace_diagnosis_findings{kind=\"close_wait_leak\"} 2",
        "tcp_trace_events_total{kind=\"state\"} 11",
        "tcp_trace_probe_attached{program=\"state_tp_btf\",hook=\"inet_sock_set_state\",backend=\"tp_btf\"} 1",
        "tcp_trace_probe_attached{program=\"state_kprobe\",hook=\"inet_sock_set_state\",backend=\"kprobe\"} 0",
        "tcp_trace_coverage_ratio{counter=\"passive_opens\"} 1",
        "tcp_trace_kernel_counts_total{group=\"Tcp\",name=\"PassiveOpens\"} 1",
        "tcp_trace_snapshots_total{result=\"whole\"} 4",
        "tcp_trace_probe_run_seconds_total{program=\"state_tp_btf\"} 0.0000055",
    ] {
        assert!(samples(&text).contains(&series), "{series}");
    }
    let illegal = "tcp_trace_state_transitions_total{from=\"time_wait\"";
    assert!(!text.contains(illegal));
}

#[test]
fn hostile_names_are_escaped() {
    let emoji = "\u{1f980}".repeat(3);
    let names = [
        "a\"b",
        "a\\",
        "\\\"",
        "a\nb 1",
        "}{",
        "x\"} 1\ny{a=\"",
        "\r\t",
        "\u{7f}\u{1}",
        "\u{fffd}",
        "\u{202e}abc",
        "\u{2028}",
        " ",
        "=,",
        "#",
        &emoji,
    ];
    let text = text(&with_names(&names));
    lint(&text);
    assert_unique(&text);
    for escaped in ["{process=\"a\\\"b\",", "{process=\"a\\\\\",", "{process=\"a\\nb 1\","] {
        assert!(text.contains(escaped), "{escaped}");
    }
    let series = "tcp_trace_process_connections{process=";
    let processes = samples(&text).iter().filter(|sample| sample.starts_with(series)).count();
    assert_eq!(processes, (names.len() + 1) * TcpState::ALL.len());
}

#[test]
fn one_label_value_is_one_series() {
    let bytes = |byte| {
        let mut comm = [0; 16];
        comm[0] = byte;
        ProcessFigures::named(&Comm(comm)).name
    };
    let (first, second) = (bytes(0xfe), bytes(0xff));
    assert_eq!(first, second, "both are no UTF-8");
    let mut figures = with_names(&["other", "", &first, &second]);
    figures.processes[0].oldest_close_wait = Some(std::time::Duration::from_secs(99));
    let text = text(&figures);
    lint(&text);
    assert_unique(&text);
    for series in [
        // 4 that were folded, and one each of "other" and of no name.
        "tcp_trace_process_connections{process=\"other\",state=\"close_wait\"} 6",
        "tcp_trace_process_connections{process=\"\u{fffd}\",state=\"close_wait\"} 2",
        "tcp_trace_close_wait_oldest_seconds{process=\"other\"} 99",
    ] {
        assert!(samples(&text).contains(&series), "{series}");
    }
}

#[test]
fn what_proc_does_not_tell_is_left_out() {
    let web = WebFigures::default();
    let text = render(Format::Text, &fake::figures(), &ProcessFacts::default(), &web).unwrap();
    assert!(!text.contains("process_open_fds"));
    lint(&text);
}
