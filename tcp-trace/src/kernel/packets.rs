//! The packet programs as they are in the object, and their trial on frames that nobody sends.

pub mod costs;

use std::{borrow::Cow, time::Duration};

use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{MapData, PerCpuArray},
    programs::{Program, TcAttachType, tc, xdp::XdpMode},
};
use tcp_trace_common::{OUTPUT_ERROR_SLOTS, SEGMENT_SLOTS, SegmentRecord, Settings};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    counters::sums,
    host::HostFacts,
    load::{OBJECT, chain, map_fd},
    transport::{Sample, Transport},
};

/// Every packet program.
pub const PROGRAMS: [&str; 6] = [
    "segments_xdp",
    "segments_xdp_ip",
    "segments_in",
    "segments_in_ip",
    "segments_out",
    "segments_out_ip",
];

/// Section of XDP programs that take frames in several parts, as the object's strings have it.
const FRAGS: &[u8] = b"xdp.frags\0";
/// Section of those that do not: kernels before 5.18 refuse the flag.
const PLAIN: &[u8] = b"xdp\0\0\0\0\0\0\0";

/// The object, with its XDP programs declared to take frames in several parts (5.18) or not.
pub(crate) fn object(frags: bool) -> Cow<'static, [u8]> {
    if frags {
        return Cow::Borrowed(OBJECT);
    }
    let mut object = OBJECT.to_vec();
    let mut at = 0;
    while let Some(window) = object.get_mut(at..at + FRAGS.len()) {
        if window == FRAGS {
            window.copy_from_slice(PLAIN);
        }
        at += 1;
    }
    Cow::Owned(object)
}

/// The packet programs, loaded and attached to nothing.
pub struct Trial {
    ebpf: Ebpf,
    transport: Transport,
    counters: PerCpuArray<MapData, [u64; SEGMENT_SLOTS]>,
    failures: PerCpuArray<MapData, [u64; OUTPUT_ERROR_SLOTS]>,
    frags: bool,
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").finish_non_exhaustive()
    }
}

/// What a program made of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What it answered.
    pub verdict: i32,
    /// The frame as it left it.
    pub frame: Vec<u8>,
    /// How long it took, on average over all repetitions.
    pub took: Duration,
}

impl Trial {
    /// Loads every packet program.
    ///
    /// # Errors
    /// What the kernel refuses, and why.
    pub fn load(settings: Settings) -> Result<Self, String> {
        // Whether frames may come in several parts (5.18) only the kernel can tell.
        Self::load_as(settings, true).or_else(|_| Self::load_as(settings, false))
    }

    fn load_as(settings: Settings, frags: bool) -> Result<Self, String> {
        let settings = Settings { xdp_frags: u32::from(frags), ..settings };
        let mut ebpf = EbpfLoader::new()
            .override_global("SETTINGS", settings.as_bytes(), true)
            .load(&object(frags))
            .map_err(|error| chain(&error))?;
        for name in PROGRAMS {
            let loaded = match ebpf.program_mut(name) {
                Some(Program::Xdp(program)) => program.load(),
                Some(Program::SchedClassifier(program)) => program.load(),
                _ => return Err(format!("the object has no program {name}")),
            };
            loaded.map_err(|error| format!("{name}: {}", chain(&error)))?;
        }
        let missing = |name| move || format!("the object has no map {name}");
        let events = ebpf.map("EVENTS").and_then(map_fd).ok_or_else(missing("EVENTS"))?;
        let transport = Transport::open(events, &HostFacts::gather(None).cpus, 1 << 20)
            .map_err(|error| chain(&error))?;
        let mut counters = |name| ebpf.take_map(name).ok_or_else(missing(name));
        let (segments, failures) = (counters("SEGMENTS")?, counters("FAILURES")?);
        Ok(Self {
            transport,
            counters: segments.try_into().map_err(|error| chain(&error))?,
            failures: failures.try_into().map_err(|error| chain(&error))?,
            ebpf,
            frags,
        })
    }

    /// Whether the XDP programs take frames in several parts.
    #[must_use]
    pub const fn takes_frags(&self) -> bool {
        self.frags
    }

    /// Attaches `program` to `lo` of the calling thread's namespace, which must be its own.
    ///
    /// An XDP program is then also tried faster: before 6.2 the kernel patches its own code around
    /// each run of one that is attached nowhere, which takes a thousand times as long as the run.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&mut self, program: &str) -> Result<(), String> {
        let way =
            if program.contains("out") { TcAttachType::Egress } else { TcAttachType::Ingress };
        let attached = match self.ebpf.program_mut(program) {
            Some(Program::Xdp(program)) => program.attach("lo", XdpMode::Skb).map(drop),
            Some(Program::SchedClassifier(program)) => {
                // Before 6.6 TC needs a place to attach to.
                let _ = tc::qdisc_add_clsact("lo");
                program.attach("lo", way).map(drop)
            }
            _ => return Err(format!("there is no packet program {program}")),
        };
        attached.map_err(|error| format!("{program}: {}", chain(&error)))
    }

    /// Runs `program` on `frame`, again and again.
    ///
    /// # Errors
    /// What the kernel says of it; frames of less than 15 bytes it refuses.
    pub fn run(&self, program: &str, frame: &[u8], repeat: u32) -> Result<Ran, String> {
        self.run_with(program, frame, TestRunOptions { repeat, ..TestRunOptions::new() })
    }

    /// Runs a TC program once on `frame`, of which only `linear` bytes lie in one piece with the
    /// rest of the buffer (6.19).
    ///
    /// # Errors
    /// What the kernel says of it.
    pub fn run_split(&self, program: &str, frame: &[u8], linear: u32) -> Result<Ran, String> {
        // A `struct __sk_buff` up to its `data_end`, which is given so.
        let mut context = [0; 84];
        context[80..].copy_from_slice(&linear.to_ne_bytes());
        let options = TestRunOptions { ctx_in: Some(&context), ..TestRunOptions::new() };
        self.run_with(program, frame, options)
    }

    fn run_with(
        &self,
        program: &str,
        frame: &[u8],
        options: TestRunOptions<'_>,
    ) -> Result<Ran, String> {
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..options };
        let ran = match self.ebpf.program(program) {
            Some(Program::Xdp(program)) => program.test_run(options),
            Some(Program::SchedClassifier(program)) => program.test_run(options),
            _ => return Err(format!("there is no packet program {program}")),
        };
        let ran = ran.map_err(|error| format!("{program}: {}", chain(&error)))?;
        out.truncate(ran.data_size_out as usize);
        Ok(Ran { verdict: ran.return_value.cast_signed(), frame: out, took: ran.duration })
    }

    /// What was counted so far: [`SEGMENT_SLOTS`] figures.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counters(&self) -> Result<Vec<u64>, String> {
        sums(&self.counters).map_err(|error| chain(&error))
    }

    /// Outputs that failed so far: [`OUTPUT_ERROR_SLOTS`] figures.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn failures(&self) -> Result<Vec<u64>, String> {
        sums(&self.failures).map_err(|error| chain(&error))
    }

    /// Takes what was reported.
    pub fn reported(&mut self) -> Vec<SegmentRecord> {
        let mut records = Vec::new();
        self.transport.drain(|_, sample| {
            if let Sample::Raw(bytes) = sample {
                records.extend(SegmentRecord::read_from_prefix(bytes).map(|(record, _)| record));
            }
        });
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(object: &[u8], needle: &[u8]) -> usize {
        object.windows(needle.len()).filter(|window| *window == needle).count()
    }

    #[test]
    fn the_object_without_frags_differs_in_the_name_of_a_section() {
        let (with, without) = (object(true), object(false));
        assert!(count(&with, FRAGS) > 0);
        assert_eq!(count(&without, FRAGS), 0);
        assert_eq!(with.len(), without.len());
        let changed = with.iter().zip(without.iter()).filter(|(a, b)| a != b).count();
        assert_eq!(changed, count(&with, FRAGS) * ".frags".len());
    }

    #[test]
    fn the_object_has_every_packet_program_with_frags_or_without() {
        for frags in [true, false] {
            let object = aya_obj::Object::parse(&object(frags)).unwrap();
            for name in PROGRAMS {
                let program = object.programs.get(name).unwrap_or_else(|| panic!("{name}"));
                if let aya_obj::ProgramSection::Xdp { frags: has, .. } = program.section {
                    assert_eq!(has, frags, "{name}");
                }
            }
        }
    }
}
