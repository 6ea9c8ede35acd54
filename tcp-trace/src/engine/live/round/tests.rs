//! Owners across rounds, of a socket of this process's own.

use std::{
    net::TcpListener,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
};

use zerocopy::FromZeros as _;

use super::*;
use crate::kernel::holders::Holder;

/// A round about this socket: whether every descriptor of the host was read, and who owns it.
fn round(memory: &mut Memory, inode: u32) -> (bool, u32) {
    memory.age();
    let mut look = Look {
        owners: Owners::Every,
        seen: None,
        memory: mem::take(memory),
        gathering: Gathering::default(),
    };
    let record = wire::StateRecord::new_zeroed();
    let mut rows = [Row { record, inode, queues: (0, 0), idle: None }];
    look.name_owners(&mut rows);
    *memory = look.memory;
    (look.seen.is_some(), rows[0].record.pid)
}

#[test]
fn a_socket_that_is_held_as_before_is_named_without_a_look_at_all_others() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = format!("/proc/self/fd/{}", listener.as_raw_fd());
    let inode = std::fs::metadata(path).unwrap().ino().try_into().unwrap();
    let (me, mut memory) = (std::process::id(), Memory::default());
    // As a pass would tell it, which on a host with very many descriptors might not come to its end.
    let holder = Holder { pid: me, comm: [0; 16], fd: listener.as_raw_fd(), others: 0 };
    memory.learn(&[inode], &Seen { holders: [(inode, holder)].into(), ..Seen::default() });
    assert_eq!(round(&mut memory, inode), (false, me));
    assert_eq!(round(&mut memory, inode), (false, me));
    drop(listener);
    assert_eq!(round(&mut memory, inode), (true, 0));
}
