//! The command line as a user without privileges meets it: what goes wrong, and how it says so.
//!
//! Where these tests run as root, the program runs as `nobody`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test's own machinery is a failure of the test"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tcp_trace::{
    api::{CheckOutcome, Doctor, Event},
    core::recording::{MAGIC, Reader},
};
use tempfile::TempDir;

#[path = "support/program.rs"]
mod program;

use program::{Ran, open_directory, run, unprivileged};

fn tcp_trace(arguments: &[&str]) -> Ran {
    run(unprivileged().args(arguments))
}

/// Where no daemon is.
const NO_SOCKET: &str = "--socket=/nonexistent/tcp-trace.sock";

#[test]
fn wrong_usage_is_2_and_names_the_mistake() {
    let mistakes: [(&[&str], &str); 17] = [
        (&["serve", "--no-such-flag"], "--no-such-flag"),
        (&["frobnicate"], "frobnicate"),
        (&["watch", "--format", "xml"], "xml"),
        (&["watch", "--json", "--format", "text"], "--json"),
        (&["list", "--state", "closewait"], "close_wait"),
        (&["list", "--older-than", "soon"], "soon"),
        (&["list", "--remote", "10.0.0.0/40"], "10.0.0.0/40"),
        (&["serve", "--backend", "uprobe"], "uprobe"),
        (&["serve", "--segments", "perhaps"], "perhaps"),
        (&["serve", "--interface", "a/b"], "a/b"),
        (&["serve", "--xdp", "lo=fast"], "fast"),
        (&["serve", "--segment-rate", "0"], "segment-rate"),
        (&["demo", "--json", "--keep"], "--keep"),
        (&["demo", "--netns", "web"], "--netns"),
        (&["demo-actor", "nobody"], "nobody"),
        (&["replay"], "<FILE>"),
        (&["show"], "filters of list, such as --state"),
    ];
    for (arguments, named) in mistakes {
        let ran = tcp_trace(arguments);
        ran.failed(2, &[named]);
        assert!(ran.out.is_empty(), "{ran:#?}");
    }
    // Nothing at all is a mistake, too: it is answered with what there is.
    tcp_trace(&[]).failed(2, &["Usage:", "serve", "watch", "replay"]);
}

#[test]
fn a_number_means_nothing_without_the_daemon_that_gave_it() {
    let ran = tcp_trace(&[NO_SOCKET, "show", "3f9c"]);
    ran.failed(1, &["no tcp-trace daemon answers on /nonexistent/", "3f9c", "show --state"]);
    // Of what the environment says, nothing gets into the usage.
    let ran = run(unprivileged().args(["show", "--no-such"]).env("TCP_TRACE_SEGMENTS", "off"));
    ran.failed(2, &["Usage: tcp-trace show [OPTIONS] <ID>"]);
    assert!(!ran.err.contains("--segments <"), "{ran:#?}");
}

#[test]
fn an_address_that_is_none_is_misuse() {
    for address in ["localhost", "127.0.0.1:70000", ":x"] {
        let ran = tcp_trace(&["serve", NO_SOCKET, "--web.listen-address", address]);
        ran.failed(2, &[address, "--web.listen-address takes ADDRESS:PORT"]);
    }
}

#[test]
fn a_wrong_web_configuration_is_named_before_anything_is_touched() {
    let directory = open_directory();
    let file = directory.path().join("web.yml");
    let path = file.display().to_string();
    let serve = || tcp_trace(&["serve", "--web.config.file", &path]);
    let ran = serve();
    ran.failed(1, &["cannot read the web configuration file", &path, "No such file"]);
    assert!(!ran.err.contains("wrong") && !ran.err.contains("promtool"), "{ran:#?}");
    fs::write(&file, "tls_server_confg: {}").unwrap();
    serve().failed(1, &[&path, "tls_server_confg", "promtool check web-config"]);
    fs::write(&file, "basic_auth_users: {alice: secret}").unwrap();
    serve().failed(1, &[&path, "alice", "bcrypt", "htpasswd"]);
}

#[test]
fn help_and_version_are_no_mistakes() {
    let help = tcp_trace(&["--help"]).good();
    for command in
        ["serve", "watch", "list", "show", "status", "doctor", "record", "replay", "demo"]
    {
        assert!(help.contains(command), "{help}");
    }
    assert!(help.contains("Exit codes"), "{help}");
    let version = tcp_trace(&["--version"]).good();
    assert_eq!(version, format!("tcp-trace {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_privileges_it_is_4_and_the_ways_out_are_named() {
    let directory = open_directory();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let file = directory.path().join("file");
    let (socket, file) = (format!("--socket={}", file.display()), file.display().to_string());
    let commands: [&[&str]; 6] = [
        &["serve", "--web.listen-address=127.0.0.1:0"],
        &["watch"],
        &["list"],
        &["show", "--pid", "1"],
        &["record", &file],
        &["demo"],
    ];
    for command in commands {
        let ran = tcp_trace(&[&[socket.as_str()], command].concat());
        ran.failed(4, &["CAP_BPF and CAP_PERFMON", "sudo", "setcap cap_bpf,cap_perfmon"]);
        assert!(ran.out.is_empty(), "{ran:#?}");
        assert!(!Path::new(&file).exists(), "{command:?} leaves something behind");
    }
}

#[test]
fn doctor_without_privileges_is_4_and_says_what_is_missing() {
    let text = tcp_trace(&["doctor"]);
    assert_eq!(text.code, 4, "{text:#?}");
    for word in ["CAP_BPF and CAP_PERFMON", "setcap"] {
        assert!(text.out.contains(word), "{text:#?}");
    }
    let json = tcp_trace(&["doctor", "--json"]);
    assert_eq!(json.code, 4, "{json:#?}");
    let report: Doctor = serde_json::from_str(&json.out).unwrap();
    assert!(!report.works && report.tried);
}

/// Facts of another host.
fn facts(change: &[(&str, serde_json::Value)]) -> (TempDir, String) {
    let mut facts = serde_json::json!({
        "kernel": "6.12.0-locked",
        "arch": "x86_64",
        "capabilities": u64::MAX,
        "lockdown": "confidentiality",
        "btf": "kernel",
        "perf_event_paranoid": 2,
        "unprivileged_bpf_disabled": 2,
        "cpus": [0, 1],
        "netns": 4_026_531_840u32,
    });
    for (name, value) in change {
        facts[*name] = value.clone();
    }
    let directory = open_directory();
    let file = directory.path().join("facts.json");
    fs::write(&file, facts.to_string()).unwrap();
    (directory, file.display().to_string())
}

#[test]
fn the_facts_of_a_locked_down_host_are_judged_anywhere() {
    let (_directory, file) = facts(&[]);
    let text = tcp_trace(&["doctor", "--facts", &file]).good();
    for word in ["6.12.0-locked", "confidentiality", "raw_tp", "kprobe"] {
        assert!(text.contains(word), "{text}");
    }
    let report: Doctor =
        serde_json::from_str(&tcp_trace(&["doctor", "--facts", &file, "--json"]).good()).unwrap();
    assert!(report.works && !report.tried);
    let refused: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.reason.as_deref().is_some_and(|why| why.contains("confidentiality")))
        .map(|check| (check.means.as_str(), check.outcome))
        .collect();
    let raw_tp = ("raw_tp inet_sock_set_state", CheckOutcome::Unused);
    let kprobe = ("kprobe tcp_set_state", CheckOutcome::Unused);
    assert_eq!(refused, [raw_tp, kprobe]);

    // A whole report holds its facts, and is judged alike.
    let whole = tcp_trace(&["doctor", "--facts", &file, "--json"]).good();
    fs::write(&file, whole).unwrap();
    tcp_trace(&["doctor", "--facts", &file]).good();
}

#[test]
fn the_facts_of_a_host_where_nothing_works_are_4() {
    let missing = serde_json::json!({ "missing": "/sys/kernel/btf/vmlinux: no such file" });
    let hosts = [
        ("capabilities", serde_json::json!(0), "CAP_BPF and CAP_PERFMON"),
        ("capabilities", serde_json::json!(1u64 << 39), "CAP_PERFMON"),
        ("btf", missing, "CONFIG_DEBUG_INFO_BTF"),
    ];
    for (name, value, said) in hosts {
        let (_directory, file) = facts(&[(name, value)]);
        let ran = tcp_trace(&["doctor", "--facts", &file]);
        assert_eq!(ran.code, 4, "{ran:#?}");
        assert!(ran.out.contains(said), "{said} is missing: {ran:#?}");
    }
}

#[test]
fn facts_that_are_none_are_1() {
    tcp_trace(&["doctor", "--facts=/nonexistent"]).failed(1, &["/nonexistent", "No such file"]);
    let (_directory, file) = facts(&[("surprise", 1.into())]);
    tcp_trace(&["doctor", "--facts", &file]).failed(1, &[&file, "surprise"]);
    fs::write(&file, "no json").unwrap();
    tcp_trace(&["doctor", "--facts", &file]).failed(1, &[&file, "doctor --json"]);
}

#[test]
fn status_needs_a_daemon() {
    let words = ["/nonexistent/tcp-trace.sock", "sudo tcp-trace serve", "--socket"];
    tcp_trace(&[NO_SOCKET, "status"]).failed(1, &words);
}

#[test]
fn settings_that_are_wrong_are_named() {
    let directory = open_directory();
    let file = directory.path().join("settings.toml");
    let path = file.display().to_string();
    let config = format!("--config={path}");
    for (text, named) in
        [("netnss = ['a']", "netnss"), ("max-closed = 'many'", "max-closed"), ("[", &path)]
    {
        fs::write(&file, text).unwrap();
        tcp_trace(&[&config, NO_SOCKET, "status"]).failed(1, &[&path, named]);
    }
    tcp_trace(&["--config=/nonexistent", "status"]).failed(1, &["/nonexistent"]);
    fs::write(&file, "").unwrap();
    let absurd = tcp_trace(&[&config, NO_SOCKET, "watch", "--buffer-size=1"]);
    absurd.failed(1, &["--buffer-size", "4 KiB"]);
}

/// A recording of one connection's two ends, and its bytes.
fn recording() -> (TempDir, PathBuf, Vec<u8>) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/client_first.rec");
    let bytes = fs::read(golden).unwrap();
    let directory = open_directory();
    let file = directory.path().join("recording");
    fs::write(&file, &bytes).unwrap();
    (directory, file, bytes)
}

/// Where each frame begins, the end of the last included.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut reader = Reader::new(bytes).unwrap();
    let mut offsets = vec![usize::try_from(reader.offset()).unwrap()];
    while reader.next_frame().unwrap().is_some() {
        offsets.push(usize::try_from(reader.offset()).unwrap());
    }
    offsets
}

fn replay(file: &Path, arguments: &[&str]) -> Ran {
    run(unprivileged().arg("replay").arg(file).args(arguments))
}

fn events(ran: &Ran) -> Vec<Event> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_whole_recording_is_replayed_without_a_word_of_complaint() {
    let (_directory, file, _) = recording();
    for arguments in [&["watch", "--json"][..], &["list", "--closed"], &["status"], &[]] {
        let ran = replay(&file, arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:#?}");
        assert!(!ran.out.is_empty());
    }
    replay(&file, &["show", "ffff"]).failed(1, &["no connection ffff", "list --closed"]);
}

#[test]
fn a_recording_cut_short_tells_what_it_holds_and_where_it_ends() {
    let (_directory, file, bytes) = recording();
    let whole = events(&replay(&file, &["watch", "--json"]));
    let frames = frames(&bytes);
    let middle = frames[frames.len() / 2];
    // Between two frames, within one, and just before the end mark.
    let cuts = [(middle, middle), (middle + 9, middle), (frames[frames.len() - 2], 0)];
    for (length, begins) in cuts {
        fs::write(&file, &bytes[..length]).unwrap();
        let ran = replay(&file, &["watch", "--json"]);
        ran.failed(1, &["cut off at byte ", &file.display().to_string()]);
        let at = number_after(&ran.err, "cut off at byte ");
        assert!((begins..=length).contains(&at), "{at} is not {begins} to {length}: {ran:#?}");
        let told = events(&ran);
        assert!(!told.is_empty() && whole.starts_with(&told), "{told:#?}");
        // What can be asked of it can still be asked.
        let list = replay(&file, &["list", "--closed"]);
        list.failed(1, &["cut off at byte "]);
        assert!(list.out.contains("kt-client"), "{list:#?}");
    }
}

fn number_after(text: &str, words: &str) -> usize {
    let rest = text.split(words).nth(1).unwrap();
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn a_recording_that_is_damaged_tells_what_came_before_the_damage_and_where_it_is() {
    let (_directory, file, bytes) = recording();
    let whole = events(&replay(&file, &["watch", "--json"]));
    let frames = frames(&bytes);
    let begins = frames[frames.len() / 2];
    for flipped in [begins, begins + 30] {
        let mut bytes = bytes.clone();
        bytes[flipped] ^= 0x20;
        fs::write(&file, &bytes).unwrap();
        let ran = replay(&file, &["watch", "--json"]);
        let place = format!("damaged at byte {begins}:");
        ran.failed(1, &[&place, &file.display().to_string(), "before the damage"]);
        let told = events(&ran);
        assert!(!told.is_empty() && whole.starts_with(&told), "{told:#?}");
    }
}

#[test]
fn what_is_no_recording_of_this_version_is_1() {
    let (_directory, file, bytes) = recording();
    let path = file.display().to_string();
    let mut other_format = bytes.clone();
    other_format[MAGIC.len()] += 1;
    let mut other_layout = bytes.clone();
    other_layout[MAGIC.len() + 2] += 100;
    let mut broken_header = bytes.clone();
    broken_header[MAGIC.len() + 10] ^= 1;
    let said: [(&[u8], &str); 7] = [
        (&other_format, "has format 2"),
        (&other_layout, "this tcp-trace reads"),
        (&broken_header, "damaged at byte 12"),
        (b"", "it is empty"),
        (b"TCPT", "no recording of tcp-trace"),
        (b"#!/bin/sh\necho", "neither a recording"),
        (&bytes[..MAGIC.len() + 2], "cut off at byte 8"),
    ];
    for (bytes, words) in said {
        fs::write(&file, bytes).unwrap();
        for arguments in [&["watch", "--json"][..], &["list"], &["show", "1"], &["status"]] {
            let ran = replay(&file, arguments);
            ran.failed(1, &[&path, words]);
            assert!(ran.out.is_empty(), "{ran:#?}");
        }
    }
}

#[test]
fn a_recording_that_cannot_be_read_is_1() {
    let (directory, file, _) = recording();
    replay(Path::new("/nonexistent.rec"), &[]).failed(1, &["/nonexistent.rec", "No such file"]);
    replay(directory.path(), &["list"]).failed(1, &[&directory.path().display().to_string()]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    replay(&file, &["list"]).failed(1, &[&file.display().to_string(), "Permission denied"]);
}
