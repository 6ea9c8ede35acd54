//! A packet program of somebody else's: our own object once more, loaded and attached by the test,
//! so that its counters tell whether it runs.

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, PerCpuArray},
    programs::{
        SchedClassifier, TcAttachType, Xdp, XdpMode,
        tc::{self, NlOptions, TcAttachOptions},
    },
};
use tcp_trace_common::SEGMENT_SLOTS;

use crate::needs;

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../bpf/tcp-trace.bpf.o"));

/// The program; dropping it takes it off.
pub(super) struct Foreign(Ebpf);

impl Foreign {
    /// Generic XDP on an interface of the calling thread's network namespace.
    pub(super) fn xdp(interface: &str) -> Self {
        let mut ebpf = load();
        let program: &mut Xdp = ebpf.program_mut("segments_xdp").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.attach(interface, XdpMode::Skb).unwrap();
        Self(ebpf)
    }

    /// A filter at TC ingress, likewise, in a clsact qdisc of its own.
    pub(super) fn filter(interface: &str) -> Self {
        let mut ebpf = load();
        tc::qdisc_add_clsact(interface).unwrap();
        let program: &mut SchedClassifier =
            ebpf.program_mut("segments_in").unwrap().try_into().unwrap();
        program.load().unwrap();
        let options = TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() });
        program.attach_with_options(interface, TcAttachType::Ingress, options).unwrap();
        Self(ebpf)
    }

    /// Frames that it has seen.
    pub(super) fn counted(&self) -> u64 {
        let map = self.0.map("SEGMENTS").unwrap();
        let map = PerCpuArray::<&MapData, [u64; SEGMENT_SLOTS]>::try_from(map).unwrap();
        map.get(&0, 0).unwrap().iter().flatten().sum()
    }
}

fn load() -> Ebpf {
    let mut object = OBJECT.to_vec();
    if !needs::is_at_least((5, 18)) {
        // A kernel that does not know frames in several parts refuses programs made for them.
        let name = b"xdp.frags\0";
        for at in 0..=object.len() - name.len() {
            if object[at..].starts_with(name) {
                object[at..at + name.len()].copy_from_slice(b"xdp\0\0\0\0\0\0\0");
            }
        }
    }
    EbpfLoader::new().load(&object).unwrap()
}
