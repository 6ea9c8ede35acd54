//! Recordings for `tests/golden`, of which nothing is kept that is not the scenario's own.

use std::{
    env,
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
};

use tcp_trace::core::recording::{Frame, Reader, Writer};
use tcp_trace_common::{StateRecord, transition_slot};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::netns::HOME;

/// What the scenarios' processes are called.
const OURS: &[u8] = b"kt-";

/// With `UPDATE_GOLDEN=1`, puts the recording in place of the one in git. Its timelines are then
/// blessed by the same variable on `cargo test --test golden`.
pub(crate) fn keep(name: &str, recording: &Path) {
    if env::var_os("UPDATE_GOLDEN").is_none() {
        return;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut reader = Reader::new(BufReader::new(File::open(recording).unwrap())).unwrap();
    let file = File::create(golden.join(format!("{name}.rec"))).unwrap();
    let mut header = reader.header().clone();
    // The release's number says enough; what a distribution calls its build is the host's own.
    header.kernel = header.kernel.split('-').next().unwrap_or_default().to_owned();
    let mut writer = Writer::new(BufWriter::new(file), &header).unwrap();
    let mut left_out = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        match frame {
            Frame::Record { cpu, bytes } => {
                let mut record = StateRecord::read_from_bytes(&bytes).unwrap();
                if name_of(&record) == HOME.as_bytes() {
                    left_out.push((record.old_state, record.new_state));
                    continue;
                }
                hide_strangers(&mut record);
                let bytes = record.as_bytes().to_vec();
                writer.write(&Frame::Record { cpu, bytes }).unwrap();
            }
            Frame::Counters { at, mut counters } => {
                for (old, new) in &left_out {
                    counters[transition_slot((*old).into(), (*new).into())] -= 1;
                }
                writer.write(&Frame::Counters { at, counters }).unwrap();
            }
            Frame::Lost { .. } => panic!("a recording with losses is no golden one"),
            Frame::End { at, .. } => {
                writer.finish(at).unwrap();
                return;
            }
        }
    }
}

fn name_of(record: &StateRecord) -> &[u8] {
    let name = record.comm.as_bytes();
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A timer or a segment may be handled on the back of any process of the host; its name is nobody's
/// business.
fn hide_strangers(record: &mut StateRecord) {
    if !name_of(record).starts_with(OURS) {
        (record.pid, record.tid) = (0, 0);
        let bytes = record.comm.as_mut_bytes();
        bytes.fill(0);
        bytes[..8].copy_from_slice(b"stranger");
    }
}
