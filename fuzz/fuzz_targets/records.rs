//! Any sequence of well-sized records leaves the table within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcp_trace::core::{
    clock::Ts,
    decode,
    fold::Told,
    sources::Sources,
    table::{Limits, Table},
};

/// Bytes of a state record after its kind and length; a life record has fewer.
const BODY: usize = 148;
/// Kinds of record, and the first of those that are no state records.
const KINDS: u8 = 19;
const FIRST_LIFE: u8 = 3;
/// Kind of a record of a whole short life, and its bytes after kind and length.
const FOLDED: u8 = 22;
const FOLDED_BODY: usize = 396;

fuzz_target!(|bytes: &[u8]| {
    let mut table = Table::new(Limits { live: 32, closed: 8 });
    let mut told = Told::default();
    let hooked = bytes.first().is_some_and(|byte| byte & 128 != 0);
    table.set_sources(Sources { time_wait: hooked, calls: hooked, resets: hooked });
    let mut rest = bytes;
    // Any kind, then what stands after kind and length, whatever it is.
    while let Some((first, after)) = rest.split_first() {
        let kind = first % (KINDS + 1);
        let length = if kind == KINDS { FOLDED_BODY } else { BODY };
        let Some((body, next)) = after.split_at_checked(length) else { break };
        rest = next;
        if kind == KINDS {
            tell_folded(&mut table, &mut told, body);
        } else {
            tell(&mut table, 1 + kind, body);
        }
    }
    assert!(table.len() <= 32 && table.closed().count() <= 8);
    let counted = table.live().filter(|known| known.is_counted() && known.is_full()).count();
    assert_eq!(table.population().held().iter().sum::<u64>(), counted as u64);
});

fn tell(table: &mut Table, kind: u8, body: &[u8]) {
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

fn tell_folded(table: &mut Table, told: &mut Told, body: &[u8]) {
    let length = (4 + FOLDED_BODY as u16).to_ne_bytes();
    let mut record = vec![FOLDED, 0, length[0], length[1]];
    record.extend(body);
    let record = decode::folded(&record).expect("its kind is right").expect("so is its length");
    let before = told.take(&record);
    if let Ok(events) = decode::unfold(&record, before) {
        for event in &events {
            table.apply(event);
        }
    }
}
