//! Any file is replayed or refused: reader, decoder, merge and table, as `replay` drives them.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tcp_trace::core::{
    clock::Ts,
    decode,
    merge::Merge,
    recording::{Frame, Reader},
    table::{Limits, Table},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    let mut table = Table::new(Limits { live: 64, closed: 16 });
    let mut merge = Merge::new(Duration::from_millis(10), 128);
    while let Ok(Some(frame)) = reader.next_frame() {
        if let Frame::Record { bytes, .. } = frame
            && let Ok(record) = decode::record(&bytes)
        {
            merge.push(Ts(record.time_ns()), record);
            merge.release(Ts(record.time_ns()), |_, record| {
                decode::event(record).map(|event| table.apply(&event)).ok();
            });
        }
    }
    assert!(table.len() <= 64);
});
