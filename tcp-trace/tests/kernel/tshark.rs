//! Wireshark's word for what passed: the segments that were recorded are the control segments of its
//! own capture, every one of them and no other.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::BufReader,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tcp_trace::core::{
    decode::{self, Record as Raw},
    recording::{Frame, Reader},
};
use tcp_trace_common::{SEGMENT_HOOK_TC_OUT, SegmentRecord, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

use super::{deadline::until, netns::Netns, sock::loopback, storm::veth, streams::Record};

#[path = "tshark/frames.rs"]
mod frames;

/// Port of connections that only say "so far": refused, and left out on both sides.
const MARK: u16 = 9;

/// A TCP segment, as either side tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    from: SocketAddr,
    to: SocketAddr,
    flags: u8,
    seq: u32,
    ack: u32,
    len: u32,
}

impl Seen {
    fn is_mark(&self) -> bool {
        [self.from.port(), self.to.port()].contains(&MARK)
    }

    fn has(&self, bits: u8) -> bool {
        self.flags & bits != 0
    }

    fn end(&self) -> u32 {
        let flags = u32::from(self.has(TCP_SYN)) + u32::from(self.has(TCP_FIN));
        self.seq.wrapping_add(self.len).wrapping_add(flags)
    }
}

/// Wireshark's capture program on an interface; dropping it ends it.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Starts it; when this returns, it captures.
    fn start(netns: &Netns, interface: &str, file: &Path) -> Self {
        let child = netns
            .command("dumpcap")
            .args(["-q", "-P", "-i", interface, "-w"])
            .arg(file)
            .stderr(Stdio::null())
            .spawn()
            .expect("dumpcap runs (package tshark)");
        Self { child, file: file.to_owned() }
    }

    /// What it has captured so far, as tshark reads it.
    fn segments(&self) -> Vec<Seen> {
        if !self.file.exists() {
            return Vec::new();
        }
        let fields = [
            "ip.src",
            "ip.dst",
            "ipv6.src",
            "ipv6.dst",
            "tcp.srcport",
            "tcp.dstport",
            "tcp.flags",
            "tcp.seq_raw",
            "tcp.ack_raw",
            "tcp.len",
        ];
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&self.file).args(["-Y", "tcp", "-T", "fields"]);
        tshark.args(fields.iter().flat_map(|field| ["-e", field]));
        // A file that is being written may be cut: tshark says so, and tells what comes before.
        let output = tshark.output().expect("tshark runs");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| seen(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
    }

    /// Ends it.
    fn end(mut self) -> Vec<Seen> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap();
        self.segments()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn seen(line: &str) -> Option<Seen> {
    let fields: Vec<_> = line.split('\t').collect();
    let [src4, dst4, src6, dst6, sport, dport, flags, seq, ack, len] = fields[..] else {
        return None;
    };
    let end = |v4: &str, v6: &str, port: &str| {
        let ip: IpAddr = if v4.is_empty() { v6 } else { v4 }.parse().ok()?;
        Some(SocketAddr::new(ip, port.parse().ok()?))
    };
    let flags = u16::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
    Some(Seen {
        from: end(src4, src6, sport)?,
        to: end(dst4, dst6, dport)?,
        flags: u8::try_from(flags & 0xff).ok()?,
        seq: seq.parse().ok()?,
        ack: ack.parse().ok()?,
        len: len.parse().ok()?,
    })
}

/// Those of `all`, in their order, that belong to a handshake, a teardown or a reset.
fn control(all: &[Seen]) -> Vec<Seen> {
    // What each end waits to see acknowledged, by way.
    let mut awaited: HashMap<(SocketAddr, SocketAddr), u32> = HashMap::new();
    let mut control = Vec::new();
    for segment in all {
        let answers = (segment.to, segment.from);
        let acknowledges = segment.has(TCP_ACK)
            && awaited
                .get(&answers)
                .is_some_and(|end| segment.ack.wrapping_sub(*end).cast_signed() >= 0);
        if acknowledges {
            awaited.remove(&answers);
        }
        if segment.has(TCP_SYN | TCP_FIN | TCP_RST) || acknowledges {
            control.push(*segment);
        }
        if segment.has(TCP_FIN) || segment.has(TCP_SYN) && segment.has(TCP_ACK) {
            awaited.insert((segment.from, segment.to), segment.end());
        }
    }
    control
}

/// The segments of a recording, marks left out: what came in, and what went out.
fn recorded(file: &Path) -> [Vec<Seen>; 2] {
    let mut reader = Reader::new(BufReader::new(File::open(file).unwrap())).unwrap();
    let (mut ins, mut outs) = (Vec::new(), Vec::new());
    while let Some(frame) = reader.next_frame().unwrap() {
        let bytes = match frame {
            Frame::Record { bytes, .. } => bytes,
            Frame::Lost { count, .. } => panic!("{count} records were lost"),
            Frame::Counters { .. } | Frame::Stack(_) | Frame::End { .. } => continue,
        };
        let Raw::Segment(record) = decode::record(&bytes).unwrap() else { continue };
        let out = record.hook == SEGMENT_HOOK_TC_OUT;
        (if out { &mut outs } else { &mut ins }).push((record.time_ns, of_record(&record)));
    }
    [ins, outs].map(|mut all| {
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, seen)| seen).filter(|seen| !seen.is_mark()).collect()
    })
}

fn of_record(record: &SegmentRecord) -> Seen {
    let end = |address: [u8; 16], port| {
        SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
    };
    Seen {
        from: end(record.source_addr, record.source_port),
        to: end(record.destination_addr, record.destination_port),
        flags: record.flags,
        seq: record.seq,
        ack: record.ack,
        len: record.payload,
    }
}

/// Records and captures on `interface` of `netns` while `traffic` goes on; marks go to `marks`.
fn both(
    netns: &Netns,
    interface: &str,
    marks: SocketAddr,
    traffic: impl FnOnce(),
) -> ([Vec<Seen>; 2], Vec<Seen>) {
    let directory = super::program::open_directory();
    let file = directory.path().join("recording");
    let record = Record::start_with(&file, &[netns], &["--segments=on", "--interface", interface]);
    let capture = Capture::start(netns, interface, &directory.path().join("capture"));
    let marks_seen = || capture.segments().iter().filter(|segment| segment.is_mark()).count();
    let mark = |before: usize| {
        until(
            || "the capture shows no mark".to_owned(),
            || {
                let sock = netns.home().socket(marks);
                sock.connect(marks).unwrap_err();
                sock.close();
                (marks_seen() > before).then_some(())
            },
        );
    };
    mark(0);
    traffic();
    mark(marks_seen());
    let captured = capture.end().into_iter().filter(|segment| !segment.is_mark()).collect();
    (recorded(&record.interrupt()), captured)
}

/// The same segments, each as often.
#[track_caller]
fn same(what: &str, told: &[Seen], captured: &[Seen]) {
    let mut balance: BTreeMap<Seen, i32> = BTreeMap::new();
    for segment in told {
        *balance.entry(*segment).or_default() += 1;
    }
    for segment in captured {
        *balance.entry(*segment).or_default() -= 1;
    }
    balance.retain(|_, count| *count != 0);
    assert!(balance.is_empty(), "{what}: recorded too often (+) or not (-): {balance:#?}");
    assert!(!told.is_empty(), "{what}");
}

/// Lives of all sorts on loopback.
fn lives(netns: &Netns, v4: bool) {
    let (client, server) = (netns.actor("ts-client"), netns.actor("ts-server"));
    let listener = server.listen(loopback(v4));
    // As much as an actor can send at once.
    let part = [b'x'; 400];
    for life in 0..24 {
        let near = client.connect(listener.local());
        let far = listener.accept();
        match life % 6 {
            0 => {
                near.close();
                far.close();
            }
            1 => {
                (0..20).for_each(|_| near.send(&part));
                near.close();
                far.read_to_end(&part.repeat(20));
                far.close();
            }
            2 => {
                near.shutdown();
                far.read_to_end(b"");
                far.send(b"12345");
                far.close();
                near.read_to_end(b"12345");
                near.close();
            }
            3 => {
                near.abort();
                far.close();
            }
            4 => {
                near.send(b"unread");
                far.wait_for(6);
                far.close();
                near.close();
            }
            _ => {
                far.close();
                near.read_to_end(b"");
                near.close();
            }
        }
    }
    let at = listener.local();
    listener.close();
    client.socket(at).connect(at).unwrap_err();
}

#[test]
#[ignore = "needs root"]
fn on_loopback_each_segment_passes_both_ends() {
    for v4 in [true, false] {
        let netns = Netns::new();
        let mut marks = loopback(v4);
        marks.set_port(MARK);
        let ([ins, outs], captured) = both(&netns, "lo", marks, || lives(&netns, v4));
        let wanted = control(&captured);
        // Data is there, and is not control.
        assert!(captured.len() > wanted.len(), "{captured:#?}");
        same("sent", &outs, &wanted);
        same("received", &ins, &wanted);
        assert_eq!(outs, wanted, "and in the same order");
    }
}

#[test]
#[ignore = "needs root"]
fn between_two_hosts_each_segment_passes_once() {
    for v4 in [true, false] {
        let (left, right) = (Netns::new(), Netns::new());
        veth::join(&left, &right);
        let (client, server) = (left.actor("ts-client"), right.actor("ts-server"));
        let listener = server.listen((veth::address(v4, 2), 0).into());
        let marks = (veth::address(v4, 2), MARK).into();
        let ([ins, outs], captured) = both(&left, veth::INTERFACE, marks, || {
            for life in 0..12 {
                let near = client.connect(listener.local());
                let far = listener.accept();
                near.send(b"request");
                far.wait_for(7);
                match life % 4 {
                    0 => {
                        near.close();
                        far.read_to_end(b"request");
                        far.close();
                    }
                    1 => {
                        far.receive().unwrap();
                        far.send(b"reply");
                        far.close();
                        near.read_to_end(b"reply");
                        near.close();
                    }
                    2 => {
                        near.abort();
                        far.close();
                    }
                    // Unread: a RST from the other host.
                    _ => {
                        far.close();
                        near.close();
                    }
                }
            }
        });
        let wanted = control(&captured);
        let is_left = |segment: &Seen| segment.from.ip() == veth::address(v4, 1);
        let (sent, got): (Vec<_>, Vec<_>) = wanted.iter().copied().partition(is_left);
        same("sent", &outs, &sent);
        same("received", &ins, &got);
    }
}

/// Frames with one tag and with two, of hosts that are not there: seen, and joined with nothing.
#[test]
#[ignore = "needs root"]
fn tags_of_vlans_are_looked_through() {
    let (left, right) = (Netns::new(), Netns::new());
    veth::join(&left, &right);
    let marks = (veth::address(true, 2), MARK).into();
    let ([ins, outs], captured) = both(&left, veth::INTERFACE, marks, || {
        for (from_client, frame) in frames::tagged_lives() {
            let netns = if from_client { &left } else { &right };
            frames::send(netns, veth::INTERFACE, &frame);
        }
    });
    let wanted = control(&captured);
    assert_eq!(wanted.len(), frames::CONTROL_SEGMENTS, "{captured:#?}");
    let (sent, got): (Vec<_>, Vec<_>) = wanted.iter().partition(|seen| seen.to.port() == 80);
    same("sent", &outs, &sent);
    same("received", &ins, &got);
}
