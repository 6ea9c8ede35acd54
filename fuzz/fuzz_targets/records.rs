//! Any sequence of well-sized records leaves the table within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcp_trace::core::{
    decode,
    table::{Limits, Table},
};

/// Bytes of a record after its kind and length.
const BODY: usize = 148;

fuzz_target!(|bytes: &[u8]| {
    let mut table = Table::new(Limits { live: 32, closed: 8 });
    for body in bytes.chunks_exact(BODY) {
        // Kind 1 or 2, the right length, then whatever comes.
        let mut record = vec![1 + body[0] % 2, 0, 152, 0];
        record.extend(body);
        if let Ok(record) = decode::record(&record)
            && let Ok(event) = decode::event(&record)
        {
            table.apply(&event);
        }
    }
    assert!(table.len() <= 32 && table.closed().count() <= 8);
    assert_eq!(table.population().held().iter().sum::<u64>(), table.len() as u64);
});
