//! `watch --format tcpstates` beside the tool whose columns these are.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
    ptr,
};

use super::{
    actor::Actor,
    daemon::Daemon,
    deadline::until,
    netns::{HOME, Netns},
    program::program,
    sock::loopback,
    streams::Lines,
};

const TOOL: &str = "/usr/sbin/tcpstates";
const HEADER: &str = "SKADDR ";

/// Starts `tcpstates` in a mount namespace of its own, where tracefs is mounted: it attaches to a
/// classic tracepoint, whose number stands there.
fn tool(arguments: &[&str]) -> Lines {
    assert!(Path::new(TOOL).exists(), "{TOOL} is missing: install the package libbpf-tools");
    let mut command = Command::new("stdbuf");
    // Into a pipe, it would keep its lines to itself until its end.
    command.args(["-oL", TOOL]).args(arguments);
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated; the
    // pointers are to constants.
    unsafe {
        command.pre_exec(|| {
            let mount = |what: *const _, on: *const _, flags| match libc::mount(
                what,
                on,
                what,
                flags,
                ptr::null(),
            ) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            };
            if libc::unshare(libc::CLONE_NEWNS) != 0 {
                return Err(io::Error::last_os_error());
            }
            mount(c"none".as_ptr(), c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE)?;
            match mount(c"tracefs".as_ptr(), c"/sys/kernel/tracing".as_ptr(), 0) {
                // It is there already, as on most hosts.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
                mounted => mounted,
            }
        });
    }
    let tool = Lines::start(&mut command);
    until(
        || format!("{TOOL} does not begin; it prints {:#?}", tool.so_far()),
        || tool.so_far().iter().any(|line| line.starts_with(HEADER)).then_some(()),
    );
    tool
}

/// Starts `watch --format tcpstates`, and waits until it shows what happens.
fn watch(daemon: &Daemon, netns: &Netns, arguments: &[&str]) -> Lines {
    let mut command = program();
    command.arg("--socket").arg(daemon.socket()).args(["watch", "--format", "tcpstates"]);
    let watch = Lines::start(command.args(arguments));
    until(
        || format!("watch does not begin; it prints {:#?}", watch.so_far()),
        || {
            netns.signal();
            watch.so_far().iter().any(|line| line.contains(HOME)).then_some(())
        },
    );
    watch
}

/// Connections of both families that end in order and by a RST, and one that is refused.
fn script(client: &Actor, server: &Actor) -> BTreeSet<String> {
    let mut ports = BTreeSet::new();
    for v4 in [true, false] {
        let listener = server.listen(loopback(v4));
        let at = listener.local();
        let (first, accepted) = (client.connect(at), listener.accept());
        first.close();
        accepted.read_to_end(b"");
        accepted.close();
        let (second, accepted) = (client.connect(at), listener.accept());
        second.abort();
        assert!(accepted.receive().is_err());
        accepted.close();
        listener.close();
        assert!(client.socket(at).connect(at).is_err());
        ports.insert(at.port().to_string());
    }
    ports
}

/// What stands in a row: `SKADDR PID COMM [IP] LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS`.
fn words(row: &str) -> Vec<&str> {
    row.split_ascii_whitespace().collect()
}

/// Rows about one of `ports`, by socket, without the time at their end. `others` tells whose rows
/// are left out.
fn by_socket(
    lines: &[String],
    ports: &BTreeSet<String>,
    others: impl Fn(&str) -> bool,
) -> BTreeMap<String, Vec<String>> {
    let mut rows = BTreeMap::<String, Vec<String>>::new();
    for line in lines.iter().filter(|line| !line.starts_with(HEADER)) {
        let words = words(line);
        let ends = [words.len() - 7, words.len() - 5].map(|at| words[at]);
        if ends.iter().any(|port| ports.contains(*port)) && !others(words[0]) {
            let row = line.trim_end().rsplit_once(' ').unwrap().0.trim_end().to_owned();
            rows.entry(words[0].to_owned()).or_default().push(row);
        }
    }
    rows
}

#[test]
#[ignore = "needs root"]
fn the_rows_are_those_of_tcpstates() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let daemon = Daemon::start(&[&netns], &[]);
    let (ours, theirs) = (watch(&daemon, &netns, &[]), tool(&[]));
    let (ours_wide, theirs_wide) = (watch(&daemon, &netns, &["-w"]), tool(&["-w"]));
    let ports = script(&client, &server);

    // A listener, two connections and a refusal over each family.
    let rows = || by_socket(&ours.so_far(), &ports, |_| false);
    let count = || rows().values().map(Vec::len).sum::<usize>();
    let wanted = 2 * (2 + (5 + 5) + (3 + 3) + 2);
    until(
        || format!("{wanted} rows are wanted: {:#?}", rows()),
        || (count() == wanted).then_some(()),
    );
    // The tool looks at the whole host: its rows about other sockets on the same ports are not ours.
    let known = rows();
    let is_others = |socket: &str| !known.contains_key(socket);
    let their_rows = || by_socket(&theirs.so_far(), &ports, is_others);
    until(
        || format!("here {known:#?}\nthere {:#?}", their_rows()),
        || (their_rows() == known).then_some(()),
    );
    assert_eq!(ours.so_far()[0], theirs.so_far()[0], "headers");

    // The width of the wide columns is another in older releases of the tool.
    let squeezed = |lines: &Lines| {
        let lines: Vec<_> = lines.so_far().iter().map(|line| words(line).join(" ")).collect();
        by_socket(&lines, &ports, is_others)
    };
    until(
        || format!("here {:#?}\nthere {:#?}", squeezed(&ours_wide), squeezed(&theirs_wide)),
        || (squeezed(&ours_wide) == squeezed(&theirs_wide)).then_some(()),
    );
    assert_eq!(squeezed(&ours_wide).values().map(Vec::len).sum::<usize>(), wanted);
}
