//! Any frame has a segment or none, of whatever link type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcp_trace::core::capture::{Packet, Rebuilder};

fuzz_target!(|bytes: &[u8]| {
    let (mut rebuilder, mut events) = (Rebuilder::default(), Vec::new());
    for link in [1, 0, 108, 101, 228, 229, 113, 276] {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        rebuilder.packet(&Packet { at_ns: 0, link, bytes, length }, &mut events);
    }
    rebuilder.finish(&mut events);
});
