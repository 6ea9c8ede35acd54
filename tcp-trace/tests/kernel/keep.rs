//! Recordings for `tests/golden`, of which nothing is kept that is not the scenario's own.

use std::{
    env,
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
};

use tcp_trace::core::recording::{Frame, Reader, Writer};
use tcp_trace_common::{LifeRecord, StateRecord, VALID_CURRENT, transition_slot};
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
                let bytes = match StateRecord::read_from_bytes(&bytes) {
                    Ok(mut record) => {
                        if name_of(&record.comm) == HOME.as_bytes() {
                            left_out.push((record.old_state, record.new_state));
                            continue;
                        }
                        hide_stranger(&mut record.comm, [&mut record.pid, &mut record.tid]);
                        record.as_bytes().to_vec()
                    }
                    Err(_) => match life(&bytes) {
                        Some(bytes) => bytes,
                        None => continue,
                    },
                };
                writer.write(&Frame::Record { cpu, bytes }).unwrap();
            }
            Frame::Counters { at, mut counters } => {
                for (old, new) in &left_out {
                    counters[transition_slot((*old).into(), (*new).into())] -= 1;
                }
                writer.write(&Frame::Counters { at, counters }).unwrap();
            }
            Frame::Stack(_) => panic!("no scenario asks for stacks"),
            Frame::Lost { .. } => panic!("a recording with losses is no golden one"),
            Frame::End { at, .. } => {
                writer.finish(at).unwrap();
                return;
            }
        }
    }
}

/// A record of another kind, with what is the host's own left out; `None` of one not to be kept.
fn life(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut record = LifeRecord::read_from_bytes(bytes).unwrap();
    if name_of(&record.comm) == HOME.as_bytes() {
        return None;
    }
    (record.cgroup, record.process_started_ns) = (0, 0);
    if record.valid & VALID_CURRENT != 0 {
        hide_stranger(&mut record.comm, [&mut record.pid, &mut record.tid]);
    }
    Some(record.as_bytes().to_vec())
}

fn name_of(comm: &[u64; 2]) -> &[u8] {
    comm.as_bytes().split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A timer or a segment may be handled on the back of any process of the host; its name is nobody's
/// business.
fn hide_stranger(comm: &mut [u64; 2], ids: [&mut u32; 2]) {
    if !name_of(comm).starts_with(OURS) {
        for id in ids {
            *id = 0;
        }
        let bytes = comm.as_mut_bytes();
        bytes.fill(0);
        bytes[..8].copy_from_slice(b"stranger");
    }
}
