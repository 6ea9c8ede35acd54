//! Who opened a connection, as the figures of its row tell.

use super::{super::row::INET_DIAG_INFO, SAMPLE, attribute, row, tcp_info};
use crate::core::decode::{SEED_ACCEPTED, SEED_CONNECTED};

#[test]
fn the_bytes_acknowledged_tell_who_opened() {
    let told = |state: u8, unacked: u32, acked: u64, sent: u64, again: u64, length: usize| {
        let mut info = tcp_info();
        info[0] = state;
        info[24..28].copy_from_slice(&unacked.to_ne_bytes());
        info[120..128].copy_from_slice(&acked.to_ne_bytes());
        info[200..208].copy_from_slice(&sent.to_ne_bytes());
        info[208..216].copy_from_slice(&again.to_ne_bytes());
        let mut bytes = SAMPLE.bytes();
        bytes.extend(attribute(INET_DIAG_INFO, &info[..length]));
        row(&bytes).record.sock_flags & (SEED_CONNECTED | SEED_ACCEPTED)
    };
    assert_eq!(told(1, 0, 101, 100, 0, 248), SEED_CONNECTED);
    assert_eq!(told(1, 0, 100, 100, 0, 248), SEED_ACCEPTED);
    assert_eq!(told(8, 0, 101, 130, 30, 248), SEED_CONNECTED, "what was sent again counts once");
    assert_eq!(told(5, 0, 102, 100, 0, 248), SEED_CONNECTED, "with our FIN");
    assert_eq!(told(5, 0, 101, 100, 0, 248), SEED_ACCEPTED);
    assert_eq!(told(1, 1, 101, 150, 0, 248), 0, "data is under way");
    assert_eq!(told(4, 0, 101, 100, 0, 248), 0, "whether our FIN is counted is not known");
    assert_eq!(told(1, 0, 190, 100, 0, 248), 0, "makes no sense");
    assert_eq!(told(1, 0, 101, 100, 0, 215), 0, "an older kernel");
}
