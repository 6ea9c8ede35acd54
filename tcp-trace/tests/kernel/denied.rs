//! What the host does not give, and how that is said.

use std::{io, os::unix::process::CommandExt as _, process::Command};

use tcp_trace::api::{CheckOutcome, ConnectionList, Doctor};

use super::{
    deadline::until,
    needs,
    netns::{HOME, Netns},
    program::{program, run, unprivileged},
    sock::loopback,
    streams::Lines,
};

/// Every command that traces, in a namespace where there is nothing to see.
fn tracing(netns: &Netns) -> [Command; 3] {
    let directory = std::env::temp_dir().join("tcp-trace-nobody");
    ["serve", "watch", "record"].map(|name| {
        let mut command = program();
        command.arg("--socket").arg(&directory).arg(name);
        match name {
            "serve" => command.arg("--web.listen-address=127.0.0.1:0"),
            "record" => command.arg(directory.with_extension("rec")),
            _ => &mut command,
        };
        command.arg(format!("--netns={}", netns.path()));
        command
    })
}

#[test]
#[ignore = "needs root"]
fn without_btf_nothing_is_traced_and_the_ways_out_are_named() {
    let netns = Netns::new();
    for mut command in tracing(&netns) {
        let ran = run(command.arg("--btf=/nonexistent"));
        ran.failed(4, &["/nonexistent", "CONFIG_DEBUG_INFO_BTF", "BTFHub", "--btf FILE"]);
        assert!(ran.out.is_empty(), "{ran:#?}");
    }
    let doctor = run(program().args(["doctor", "--btf=/nonexistent"]));
    assert_eq!(doctor.code, 4, "{doctor:#?}");
    for word in ["/nonexistent", "CONFIG_DEBUG_INFO_BTF"] {
        assert!(doctor.out.contains(word), "{doctor:#?}");
    }
}

/// Makes `perf_event_open()` fail with `errno`, as a container's seccomp profile would.
fn without_perf_events(command: &mut Command, errno: i32) -> &mut Command {
    /// Offset of the number in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    let step = |code: u32, jump_false: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf: jump_false,
        k,
    };
    let call = u32::try_from(libc::SYS_perf_event_open).unwrap();
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, NUMBER),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: between fork and exec one system call is made, with memory that the closure owns.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
            match libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })
    }
}

#[test]
#[ignore = "needs root"]
fn refused_perf_events_are_named_with_what_helps() {
    let netns = Netns::new();
    let refusals = [
        (libc::EACCES, "CAP_PERFMON"),
        (libc::EACCES, "seccomp"),
        (libc::ENOSYS, "CONFIG_PERF_EVENTS"),
    ];
    for (errno, way_out) in refusals {
        for mut command in tracing(&netns) {
            let ran = run(without_perf_events(&mut command, errno));
            let said = io::Error::from_raw_os_error(errno).to_string();
            ran.failed(4, &["perf_event_open for CPU", &said, way_out]);
        }
        let doctor = run(without_perf_events(program().arg("doctor"), errno));
        assert_eq!(doctor.code, 4, "{doctor:#?}");
        assert!(doctor.out.contains("perf_event_open"), "{doctor:#?}");
        assert!(doctor.out.contains(way_out), "{doctor:#?}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_is_not_there_is_named() {
    let ran = run(program().args(["watch", "--socket=/nonexistent/socket", "--netns=no-such"]));
    ran.failed(1, &["network namespace 'no-such'", "/run/netns/no-such", "ip netns list"]);
}

/// Runs `arguments` as nobody with no capabilities but these, in `netns`.
fn with_capabilities(netns: &Netns, capabilities: &str, arguments: &[&str]) -> Command {
    let mut command = netns.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(format!("--inh-caps=-all,{capabilities}"))
        .arg(format!("--ambient-caps=-all,{capabilities}"))
        .arg(unprivileged().get_program())
        .arg("--socket=/nonexistent/socket")
        .args(arguments);
    command
}

/// Those that tcp-trace asks for, less `CAP_SYS_RESOURCE`, which no kernel since 5.11 needs.
const ENOUGH: &str = "+bpf,+perfmon,+ipc_lock";

/// Whether this kernel charges maps to the control group, and not to the user's limit.
fn charges_no_user() -> bool {
    needs::kernel((5, 11), "maps that are not charged to RLIMIT_MEMLOCK")
}

#[test]
#[ignore = "needs root"]
fn a_capability_that_is_missing_is_named_alone() {
    let netns = Netns::new();
    for (given, missing) in [("+bpf", "CAP_PERFMON"), ("+perfmon", "CAP_BPF")] {
        let ran = run(&mut with_capabilities(&netns, given, &["watch"]));
        ran.failed(4, &[&format!("tracing needs {missing}, which"), "setcap"]);
    }
}

#[test]
#[ignore = "needs root"]
fn the_capabilities_that_are_named_suffice() {
    if !charges_no_user() {
        return;
    }
    let netns = Netns::new();
    let server = netns.actor("kt-server");
    let arguments = ["watch", "--json", "--netns=self"];
    let watch = Lines::start(&mut with_capabilities(&netns, ENOUGH, &arguments));
    let shows = |name: &str| watch.so_far().iter().any(|line| line.contains(name));
    until(
        || "watch shows nothing".to_owned(),
        || {
            netns.signal();
            shows(HOME).then_some(())
        },
    );
    server.listen(loopback(true)).close();
    until(|| format!("{:#?}", watch.so_far()), || shows("kt-server").then_some(()));
}

/// sock_diag tells a process about its own namespace whatever its capabilities; only to enter
/// another one takes more.
#[test]
#[ignore = "needs root"]
fn they_suffice_for_what_was_there_before() {
    if !charges_no_user() {
        return;
    }
    let netns = Netns::new();
    let server = netns.actor("kt-server");
    let listener = server.listen(loopback(true));
    let arguments = ["list", "--json", "--state=listen", "--netns=self"];
    let ran = run(&mut with_capabilities(&netns, ENOUGH, &arguments));
    // It says that it traces for itself, and nothing else.
    assert!(
        ran.err.starts_with("no daemon answers") && ran.err.lines().count() == 1,
        "{}",
        ran.err
    );
    let list: ConnectionList = serde_json::from_str(&ran.good()).unwrap();
    let [found] = &list.connections[..] else { panic!("{list:#?}") };
    assert_eq!(found.local.port, listener.local().port());
}

#[test]
#[ignore = "needs root"]
fn packet_programs_take_one_more_and_are_done_without() {
    if !charges_no_user() {
        return;
    }
    let netns = Netns::new();
    let doctor = |capabilities: &str| -> Doctor {
        let arguments = ["doctor", "--json", "--segments=on", "--interface=lo"];
        serde_json::from_str(&run(&mut with_capabilities(&netns, capabilities, &arguments)).good())
            .unwrap()
    };
    let without = doctor(ENOUGH);
    assert!(without.works && without.segments.refused, "{without:#?}");
    let check = without.checks.iter().find(|check| check.feature == "segments").unwrap();
    assert_eq!(check.outcome, CheckOutcome::Missing);
    assert!(check.reason.as_ref().unwrap().contains("cap_net_admin"), "{check:#?}");
    assert!(check.loses.is_some(), "{check:#?}");
    let with = doctor(&format!("{ENOUGH},+net_admin"));
    let [lo] = &with.segments.interfaces[..] else { panic!("{with:#?}") };
    assert!(lo.name == "lo" && lo.is_whole(), "{lo:#?}");
}
