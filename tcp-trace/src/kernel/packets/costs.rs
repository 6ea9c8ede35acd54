//! What the packet programs cost: each is run again and again on one frame, by the kernel's own trial
//! of programs.

use std::{fs, net::Ipv6Addr, os::fd::AsFd as _, time::Duration};

use aya_obj::generated::bpf_prog_type;
use serde::Serialize;
use tcp_trace_common::{Settings, TCP_ACK, TCP_SYN};

use super::{super::sys, PROGRAMS, Trial};

/// `PSH`, which every last segment of a write has.
const TCP_PSH: u8 = 8;
/// Payload of a segment that fills an Ethernet frame, beside 12 bytes of options.
const PAYLOAD: usize = 1448;
/// Reports that the perf buffer of a trial surely has room for before it is read.
const REPORTS: u32 = 4000;
/// Most batches of reports in one run.
const BATCHES: u32 = 100;

/// A frame of everyday traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// 1448 bytes of payload, in the middle of a connection.
    Data,
    /// No payload, in the middle of a connection.
    Ack,
    /// The first segment of a handshake, which is reported.
    Syn,
    /// Not TCP.
    Udp,
}

impl Frame {
    /// All.
    const ALL: [Self; 4] = [Self::Data, Self::Ack, Self::Syn, Self::Udp];

    /// Protocol, flags and payload.
    const fn parts(self) -> (u8, u8, usize) {
        match self {
            Self::Data => (6, TCP_ACK | TCP_PSH, PAYLOAD),
            Self::Ack => (6, TCP_ACK, 0),
            Self::Syn => (6, TCP_SYN, 0),
            Self::Udp => (17, 0, 100),
        }
    }

    /// The bytes, with a link header of Ethernet or none. Nobody looks at checksums.
    fn bytes(self, version: IpVersion, is_ethernet: bool) -> Vec<u8> {
        let (protocol, flags, payload) = self.parts();
        let header = if protocol == 6 { 32 } else { 8 };
        let length = u16::try_from(header + payload).unwrap_or(u16::MAX);
        let mut frame = Vec::new();
        if is_ethernet {
            frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
            frame.extend(version.ethertype().to_be_bytes());
        }
        version.write_header(&mut frame, protocol, length);
        frame.extend(40_000u16.to_be_bytes());
        frame.extend(443u16.to_be_bytes());
        if protocol == 6 {
            frame.extend(1_000u32.to_be_bytes());
            frame.extend(2_000u32.to_be_bytes());
            // 32 bytes of header: timestamps, as on nearly every connection.
            frame.extend([0x80, flags, 1, 0, 0, 0, 0, 0]);
            frame.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
        } else {
            frame.extend(length.to_be_bytes());
            frame.extend([0, 0]);
        }
        frame.resize(frame.len() + payload, b'p');
        frame
    }
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpVersion {
    /// IPv4, without options.
    V4,
    /// IPv6, without extension headers.
    V6,
}

impl IpVersion {
    const fn ethertype(self) -> u16 {
        match self {
            Self::V4 => 0x0800,
            Self::V6 => 0x86dd,
        }
    }

    fn write_header(self, frame: &mut Vec<u8>, protocol: u8, length: u16) {
        match self {
            Self::V4 => {
                frame.extend([0x45, 0]);
                frame.extend((length + 20).to_be_bytes());
                frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
                frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
            }
            Self::V6 => {
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([protocol, 64]);
                for last in [1, 2] {
                    frame.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets());
                }
            }
        }
    }
}

/// What one program needs for one frame.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// The program.
    pub program: &'static str,
    /// The frame.
    pub frame: Frame,
    /// Its version of IP.
    pub ip: IpVersion,
    /// Nanoseconds per frame, on average, in each run: with the kernel's own loop around the program,
    /// and all that it reads in the processor's caches.
    pub ns: Vec<u64>,
}

/// Measures every program on every frame: `runs` times, `repeat` frames each. A frame that is
/// reported passes in batches that the perf buffer has room for.
///
/// # Errors
/// What the kernel refuses; and anywhere but in a network namespace with nothing but `lo`, on which
/// XDP programs are put meanwhile.
pub fn measure(repeat: u32, runs: u32) -> Result<Vec<Cost>, String> {
    expect_an_empty_namespace()?;
    // A budget that is asked each time, and never spent.
    let settings =
        Settings { segment_cost_ns: 1, segment_burst: 1_000_000_000, ..Settings::DEFAULT };
    let mut costs = empty(repeat, runs)?;
    for program in PROGRAMS {
        let mut trial = Trial::load(settings)?;
        if program.starts_with("segments_xdp") {
            trial.attach(program)?;
        }
        for frame in Frame::ALL {
            for ip in [IpVersion::V4, IpVersion::V6] {
                let bytes = frame.bytes(ip, !program.ends_with("_ip"));
                let mut run = || one_run(&mut trial, program, frame, &bytes, repeat);
                // The first finds nothing in the caches.
                run()?;
                let ns = (0..runs).map(|_| run()).collect::<Result<_, _>>()?;
                costs.push(Cost { program, frame, ip, ns });
            }
        }
    }
    Ok(costs)
}

/// Programs that do nothing: what the kernel's loop takes by itself.
fn empty(repeat: u32, runs: u32) -> Result<Vec<Cost>, String> {
    let (frame, ip) = (Frame::Data, IpVersion::V4);
    let bytes = frame.bytes(ip, true);
    let kinds = [
        ("empty_xdp", bpf_prog_type::BPF_PROG_TYPE_XDP, 2),
        ("empty_tc", bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, -1),
    ];
    let cost = |(program, kind, answer)| {
        let loaded = sys::bpf_empty_program(kind, answer)?;
        let run = || sys::bpf_trial(loaded.as_fd(), &bytes, repeat).map(u64::from);
        run()?;
        let ns = (0..runs).map(|_| run()).collect::<Result<_, _>>()?;
        Ok(Cost { program, frame, ip, ns })
    };
    let costs: std::io::Result<_> = kinds.into_iter().map(cost).collect();
    costs.map_err(|error| format!("running a program that does nothing failed: {error}"))
}

/// Nanoseconds per frame.
fn one_run(
    trial: &mut Trial,
    program: &str,
    frame: Frame,
    bytes: &[u8],
    repeat: u32,
) -> Result<u64, String> {
    let nanoseconds = |took: Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    if frame != Frame::Syn {
        return Ok(nanoseconds(trial.run(program, bytes, repeat)?.took));
    }
    let mut batches = Vec::new();
    for _ in 0..(repeat / REPORTS).clamp(1, BATCHES) {
        batches.push(nanoseconds(trial.run(program, bytes, repeat.min(REPORTS))?.took));
        trial.reported();
    }
    batches.sort_unstable();
    Ok(batches[batches.len() / 2])
}

/// So that no program is put on an interface that anybody else uses.
fn expect_an_empty_namespace() -> Result<(), String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")
        .map_err(|error| format!("reading /proc/thread-self/net/dev failed: {error}"))?;
    let names = interfaces(&table);
    if names != ["lo"] {
        return Err(format!(
            "this network namespace has {}; run it in an empty one: unshare --net tcp-trace …",
            names.join(", ")
        ));
    }
    Ok(())
}

/// Names in a table of interfaces, which two lines of titles precede.
fn interfaces(table: &str) -> Vec<&str> {
    let rows = table.lines().skip(2).filter_map(|row| row.split_once(':'));
    rows.map(|(name, _)| name.trim()).collect()
}

#[cfg(test)]
mod tests {
    use tcp_trace_common::frame::{Link, Skip, parse_slice};

    use super::*;

    #[test]
    fn frames_are_what_they_are_called() {
        for ip in [IpVersion::V4, IpVersion::V6] {
            for (link, is_ethernet) in [(Link::Ethernet, true), (Link::Ip, false)] {
                let read = |frame: Frame| parse_slice(&frame.bytes(ip, is_ethernet), link);
                assert_eq!(read(Frame::Udp).unwrap_err(), Skip::NotTcp);
                for (frame, flags, payload) in [
                    (Frame::Data, TCP_ACK | TCP_PSH, 1448),
                    (Frame::Ack, TCP_ACK, 0),
                    (Frame::Syn, TCP_SYN, 0),
                ] {
                    let segment = read(frame).unwrap();
                    assert_eq!((segment.flags, segment.payload), (flags, payload), "{frame:?}");
                    assert_eq!((segment.source_port, segment.destination_port), (40_000, 443));
                    assert_eq!((segment.seq, segment.ack), (1_000, 2_000));
                }
            }
        }
    }

    #[test]
    fn a_full_frame_is_as_large_as_ethernet_takes() {
        assert_eq!(Frame::Data.bytes(IpVersion::V4, false).len(), 1500);
    }

    #[test]
    fn interfaces_are_read_off_their_table() {
        let titles = "Inter-|   Receive\n face |bytes    packets\n";
        let table = format!("{titles}    lo:       0       0\n  eth0: 1 2\n");
        assert_eq!(interfaces(&table), ["lo", "eth0"]);
        assert!(interfaces("").is_empty());
    }
}
