//! The port that a socket had in its last life.

use std::num::NonZeroU64;

use crate::core::{connection::Connection, event::SocketId};

/// Lives remembered at most, each in a place of its own: a power of two.
const LIVES: usize = 1 << 12;

/// The last lives of sockets that have ended: what a socket had is found without a search among all
/// that have ended of late.
#[derive(Debug, Default)]
pub(super) struct LastPorts(Vec<Last>);

#[derive(Clone, Copy, Debug)]
struct Last {
    socket: SocketId,
    port: u16,
}

const NOBODY: Last = Last { socket: SocketId { cookie: None, sk: 0 }, port: 0 };

/// Where a socket's last life is remembered: by its address, which both lives have, else its cookie.
fn place(socket: SocketId) -> usize {
    let number = if socket.sk == 0 { socket.cookie.map_or(0, NonZeroU64::get) } else { socket.sk };
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed).unwrap_or(0) % LIVES
}

impl LastPorts {
    /// A life has ended.
    pub(super) fn note(&mut self, ended: &Connection) {
        if self.0.is_empty() {
            self.0.resize(LIVES, NOBODY);
        }
        if let Some(last) = self.0.get_mut(place(ended.socket)) {
            *last = Last { socket: ended.socket, port: ended.local_port() };
        }
    }

    /// The port of the socket's last life, where that is remembered; 0 where it had none.
    pub(super) fn of(&self, socket: SocketId) -> u16 {
        let same = |last: &&Last| match (last.socket.cookie, socket.cookie) {
            (Some(known), Some(cookie)) => known == cookie,
            _ => socket.sk != 0 && last.socket.sk == socket.sk,
        };
        self.0.get(place(socket)).filter(same).map_or(0, |last| last.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        clock::Ts,
        connection::ConnectionId,
        event::{Flow, Origin, Protocol, StateChange},
        tcp_state::TcpState,
    };

    fn ended(socket: SocketId, port: u16) -> Connection {
        let end = |port| (std::net::Ipv4Addr::LOCALHOST, port).into();
        let change = StateChange {
            socket,
            origin: Origin::Live,
            old: TcpState::Close,
            new: TcpState::SynSent,
            flow: Flow { local: end(port), remote: end(80) },
            protocol: Protocol::Tcp,
            netns: None,
            error: 0,
            transfer: None,
            flags: None,
            current: None,
            silent: None,
        };
        Connection::open(ConnectionId(1), Ts(1), &change, 0)
    }

    #[test]
    fn a_socket_s_last_port_is_known_and_nobody_else_s() {
        let id = |cookie, sk| SocketId { cookie: NonZeroU64::new(cookie), sk };
        let mut ports = LastPorts::default();
        assert_eq!(ports.of(id(1, 7)), 0);
        for (socket, port) in [(id(1, 7), 1_000), (id(2, 8), 2_000), (id(0, 9), 3_000)] {
            ports.note(&ended(socket, port));
        }
        assert_eq!(
            [id(1, 7), id(2, 8), id(0, 9)].map(|socket| ports.of(socket)),
            [1_000, 2_000, 3_000]
        );
        // Another socket at the same address, and one whose cookie is told only now.
        assert_eq!(
            [id(5, 7), id(0, 7), id(5, 9)].map(|socket| ports.of(socket)),
            [0, 1_000, 3_000]
        );
        ports.note(&ended(id(1, 7), 1_001));
        assert_eq!(ports.of(id(1, 7)), 1_001);
        // Without addresses, by the cookie.
        ports.note(&ended(id(3, 0), 4_000));
        assert_eq!([id(3, 0), id(4, 0), id(0, 0)].map(|socket| ports.of(socket)), [4_000, 0, 0]);
        assert_eq!(ports.0.len(), LIVES);
    }
}
