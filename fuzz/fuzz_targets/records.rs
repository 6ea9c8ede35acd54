//! Any sequence of well-sized records leaves the table within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcp_trace::core::{
    clock::Ts,
    decode,
    sources::Sources,
    table::{Limits, Table},
};

/// Bytes of a state record after its kind and length; a life record has fewer.
const BODY: usize = 148;
/// Kinds of record, and the first of those that are no state records.
const KINDS: u8 = 19;
const FIRST_LIFE: u8 = 3;

fuzz_target!(|bytes: &[u8]| {
    let mut table = Table::new(Limits { live: 32, closed: 8 });
    let hooked = bytes.first().is_some_and(|byte| byte & 128 != 0);
    table.set_sources(Sources { time_wait: hooked, calls: hooked, resets: hooked });
    for body in bytes.chunks_exact(BODY) {
        // Any kind, its length, then whatever comes.
        let kind = 1 + body[0] % KINDS;
        let length = if kind < FIRST_LIFE { 152 } else { 128 };
        let mut record = vec![kind, 0, length, 0];
        record.extend(body);
        if let Ok(record) = decode::record(&record)
            && let Ok(event) = decode::event(&record)
        {
            table.apply(&event);
            if body[1] == 0 {
                table.tick(Ts(record.time_ns()));
            }
        }
    }
    assert!(table.len() <= 32 && table.closed().count() <= 8);
    let counted = table.live().filter(|known| known.is_counted() && known.is_full()).count();
    assert_eq!(table.population().held().iter().sum::<u64>(), counted as u64);
});
