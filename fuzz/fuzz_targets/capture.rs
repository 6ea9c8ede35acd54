//! Any file is replayed or refused: reader, frames, inference and table, as `replay` drives them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcp_trace::core::{
    capture::{Reader, Rebuilder},
    table::{Limits, Table},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    let mut table = Table::new(Limits { live: 64, closed: 16 });
    let (mut rebuilder, mut events) = (Rebuilder::default(), Vec::new());
    while let Ok(Some(packet)) = reader.next_packet() {
        rebuilder.packet(&packet, &mut events);
        for event in events.drain(..) {
            table.apply(&event);
        }
    }
    rebuilder.finish(&mut events);
    for event in events.drain(..) {
        table.apply(&event);
    }
    assert!(table.len() <= 64);
});
