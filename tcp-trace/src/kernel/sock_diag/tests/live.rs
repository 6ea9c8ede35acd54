//! The kernel's own answers about sockets this test opens. Needs no privileges.

use std::{
    fs,
    io::Write as _,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt as _,
    },
    thread,
    time::Duration,
};

use rustix::net::sockopt::socket_cookie;

use super::super::*;
use crate::{
    core::decode::{SEED_ACCEPTED, SEED_CONNECTED},
    kernel::holders::{self, Wanted},
};

const LISTEN: u8 = 10;
const ESTABLISHED: u8 = 1;
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;

fn find(rows: &[Row], local: SocketAddr, remote_port: u16) -> Option<Row> {
    let ports = (local.port(), remote_port);
    rows.iter().copied().find(|row| (row.record.local_port, row.record.remote_port) == ports)
}

/// All that there is, however it comes.
fn whole() -> Snapshot {
    let stamp = Stamp { time_ns: 7, netns: Some(9) };
    let (mut rows, mut minis) = (Vec::new(), Vec::new());
    let mut take = |mut piece: Snapshot| {
        rows.append(&mut piece.rows);
        minis.append(&mut piece.minis);
        true
    };
    let last = list(Channel::open().unwrap(), stamp, 2, &mut take).unwrap();
    rows.extend(last.rows.iter().copied());
    minis.extend(last.minis.iter().copied());
    Snapshot { rows, minis, ..last }
}

/// Snapshots until one suits: what a peer does arrives in its own time.
fn await_snapshot<T>(suits: impl Fn(&Snapshot) -> Option<T>) -> (Snapshot, T) {
    for _ in 0..200 {
        let snapshot = whole();
        if let Some(found) = suits(&snapshot) {
            return (snapshot, found);
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no snapshot in two seconds showed it");
}

fn await_state(local: SocketAddr, remote_port: u16, state: u8) -> (Snapshot, Row) {
    await_snapshot(|snapshot| {
        find(&snapshot.rows, local, remote_port).filter(|row| row.record.new_state == state)
    })
}

fn inode_of(socket: &impl AsRawFd) -> u32 {
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    fs::metadata(path).unwrap().ino().try_into().unwrap()
}

/// What the socket itself says is what its row says.
fn assert_is(row: &Row, socket: &(impl AsFd + AsRawFd)) {
    assert_eq!(row.record.cookie, socket_cookie(socket).unwrap());
    assert_ne!(row.record.valid & wire::VALID_COOKIE, 0);
    assert_eq!(row.inode, inode_of(socket));
    assert_ne!(row.record.sock_flags & wire::SOCK_ATTACHED, 0);
    assert_eq!((row.record.time_ns, row.record.netns), (7, 9));
    assert_ne!(row.record.valid & wire::VALID_TCP, 0);
}

fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_half_closed_pair_and_its_listener_are_told_as_they_are() {
    let (listener, server_address) = listen("127.0.0.1:0");
    let mut client = TcpStream::connect(server_address).unwrap();
    let (server, client_address) = listener.accept().unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();

    let port = client_address.port();
    let (_, _) = await_state(client_address, server_address.port(), FIN_WAIT2);
    let (mut snapshot, server_row) = await_state(server_address, port, CLOSE_WAIT);
    assert!(!snapshot.interrupted);
    let client_row = find(&snapshot.rows, client_address, server_address.port()).unwrap();
    let listener_row = find(&snapshot.rows, server_address, 0).unwrap();
    assert_is(&server_row, &server);
    assert_is(&client_row, &client);
    assert_is(&listener_row, &listener);

    let record = server_row.record;
    assert_eq!(record.local_addr, LOOPBACK);
    assert_eq!(record.remote_addr, LOOPBACK);
    assert_eq!(record.rcv_nxt - record.copied_seq, 5 + 1, "five bytes and the FIN");
    assert_eq!(record.write_seq - record.snd_una, 0);
    assert_eq!(record.bytes_received, 5 + 1, "the kernel counts the FIN here as well");
    assert_ne!(record.srtt_us_x8, 0);
    assert_eq!(record.shutdown, 1);
    assert_ne!(record.sock_flags & wire::SOCK_FLAG_FIN_RECEIVED, 0);
    let record = client_row.record;
    assert_eq!((record.new_state, record.shutdown), (FIN_WAIT2, 2));
    assert_eq!(record.bytes_acked, 1 + 5 + 1, "SYN, five bytes and the FIN");
    assert_ne!(record.sock_flags & SEED_CONNECTED, 0);
    assert_ne!(server_row.record.sock_flags & SEED_ACCEPTED, 0);
    assert_eq!(listener_row.record.new_state, LISTEN);
    assert_eq!(listener_row.record.shutdown, 0);

    let found = holders::look(Wanted::Sockets).holders;
    holders::name_owners(&mut snapshot.rows, &found);
    for (local, remote_port, fd) in [
        (server_address, port, server.as_raw_fd()),
        (client_address, server_address.port(), client.as_raw_fd()),
        (server_address, 0, listener.as_raw_fd()),
    ] {
        let row = find(&snapshot.rows, local, remote_port).unwrap();
        assert_eq!(row.record.pid, std::process::id());
        assert_eq!(row.record.tid, row.record.pid);
        assert_ne!(row.record.valid & wire::VALID_CURRENT, 0);
        let holder = found[&row.inode];
        assert_eq!(holder.fd, fd);
        assert_eq!(row.record.comm_bytes(), holder.comm);
    }
}

/// 127.0.0.1 as records have it.
const LOOPBACK: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];

#[test]
fn a_child_nobody_accepted_has_no_file() {
    let (_listener, server_address) = listen("127.0.0.1:0");
    let client = TcpStream::connect(server_address).unwrap();
    let port = client.local_addr().unwrap().port();
    let (_, child) = await_state(server_address, port, ESTABLISHED);
    assert_eq!(child.inode, 0);
    assert_eq!(child.record.sock_flags, SEED_ACCEPTED);
}

#[test]
fn a_closed_socket_in_fin_wait2_is_a_mini_socket_and_no_full_one() {
    let (listener, server_address) = listen("127.0.0.1:0");
    let client = TcpStream::connect(server_address).unwrap();
    let (_server, client_address) = listener.accept().unwrap();
    let (inode, cookie) = (inode_of(&client), socket_cookie(&client).unwrap());
    drop(client);
    // Before the FIN is acknowledged it is an orphan in FIN_WAIT1, a full socket.
    let (snapshot, ()) = await_snapshot(|snapshot| {
        let row = find(&snapshot.rows, client_address, server_address.port());
        assert!(row.is_none_or(|row| row.record.sock_flags == wire::SOCK_FLAG_DEAD));
        row.is_none().then_some(())
    });
    assert!(snapshot.rows.iter().all(|row| row.inode != inode));
    let ports = (client_address.port(), server_address.port());
    let mini = snapshot.minis.iter().find(|m| (m.local_port, m.remote_port) == ports).unwrap();
    assert_eq!((mini.kind, mini.old_state), (wire::KIND_SEED_TIME_WAIT, FIN_WAIT2));
    assert_eq!(mini.cookie, cookie, "a mini-socket has its connection's cookie");
    assert!((1..=60_000).contains(&mini.value), "{} ms left", mini.value);
}

#[test]
fn an_ipv4_connection_of_a_dual_stack_listener_is_ipv4_mapped() {
    // Hosts without IPv6 have nothing to test here.
    let Ok(listener) = TcpListener::bind("[::]:0") else {
        return;
    };
    let server_address = listener.local_addr().unwrap();
    let client = TcpStream::connect(("127.0.0.1", server_address.port())).unwrap();
    let client_address = client.local_addr().unwrap();
    let (server, _) = listener.accept().unwrap();
    let (_, row) = await_state(server_address, client_address.port(), ESTABLISHED);
    assert_is(&row, &server);
    assert_eq!(row.record.family, 10);
    assert_eq!(row.record.local_addr, LOOPBACK);
    let (_, row) = await_state(client_address, server_address.port(), ESTABLISHED);
    assert_eq!(row.record.family, 2);
}
