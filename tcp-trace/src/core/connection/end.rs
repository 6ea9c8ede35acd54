//! What is known of a connection's end: most that are open have none, and keep no room for it.

use super::{Closed, Connection};
use crate::core::{clock::Ts, close::ClosedBy, close::Verdict, time_wait::Mini};

/// Boxes that wait to be used again: about as many as may end at once, where time alone ends them,
/// which is looked at once a second. They take 1.4 MB.
const SPARE: usize = 1 << 14;

/// All that comes with the end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    first_fin: Option<(ClosedBy, Ts)>,
    judged: Option<Closed>,
    closed: Option<Closed>,
    mini: Option<Mini>,
}

/// Room for ends, left by connections that are kept no longer: where many come and go, none of them
/// allocates.
#[derive(Debug, Default)]
pub struct Rooms {
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    spare: Vec<Box<End>>,
}

impl Rooms {
    /// Takes the room of a connection that is no longer needed.
    pub fn take_back(&mut self, connection: &mut Connection) {
        if let Some(mut end) = connection.end.take()
            && self.spare.len() < SPARE
        {
            *end = End::default();
            self.spare.push(end);
        }
    }
}

impl Connection {
    /// Who sent the first FIN, and when it was sent or came.
    #[must_use]
    pub fn first_fin(&self) -> Option<(ClosedBy, Ts)> {
        self.end.as_ref()?.first_fin
    }

    /// The end of its full socket, where the reason is judged. A mini-socket may go on from there.
    #[must_use]
    pub fn judged(&self) -> Option<Closed> {
        self.end.as_ref()?.judged
    }

    /// Its end.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.end.as_ref()?.closed
    }

    /// The mini-socket that has taken over, or is about to.
    #[must_use]
    pub fn mini(&self) -> Option<&Mini> {
        self.end.as_ref()?.mini.as_ref()
    }

    /// Makes room for its end, which is near, out of what others have left.
    pub fn make_room(&mut self, rooms: &mut Rooms) {
        if self.end.is_none() {
            self.end = rooms.spare.pop();
        }
    }

    /// A mini-socket has taken over, or is about to.
    pub fn set_mini(&mut self, mini: Mini) {
        self.end_mut().mini = Some(mini);
    }

    /// Changes its mini-socket, where it has one.
    pub fn mini_mut(&mut self) -> Option<&mut Mini> {
        self.end.as_mut()?.mini.as_mut()
    }

    /// Judges the end of its full socket.
    pub fn judge(&mut self, at: Ts, verdict: Verdict) {
        self.end_mut().judged = Some(Closed { at, verdict });
    }

    /// Changes what was judged, where anything was.
    pub fn verdict_mut(&mut self) -> Option<&mut Verdict> {
        Some(&mut self.end.as_mut()?.judged.as_mut()?.verdict)
    }

    /// Ends here, for the reason judged before.
    pub fn finish(&mut self, at: Ts) {
        if let Some(end) = &mut self.end {
            end.closed = end.judged.map(|judged| Closed { at, ..judged });
        }
    }

    /// Notes whose FIN was first, where `fin` tells of one and none was known.
    pub(super) fn fin(&mut self, at: Ts, fin: Option<ClosedBy>) {
        if let Some(by) = fin {
            self.end_mut().first_fin.get_or_insert((by, at));
        }
    }

    /// Our FIN was out when theirs came: both closed, whoever was first by a hair.
    pub(super) fn fins_crossed(&mut self) {
        if let Some((by, _)) = self.end.as_mut().and_then(|end| end.first_fin.as_mut()) {
            *by = ClosedBy::Both;
        }
    }

    fn end_mut(&mut self) -> &mut End {
        self.end.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        connection::ConnectionId,
        event::{Flow, Origin, Protocol, SocketId, StateChange},
        tcp_state::TcpState,
    };

    fn connection() -> Connection {
        let end = (std::net::Ipv4Addr::LOCALHOST, 1).into();
        let change = StateChange {
            socket: SocketId { cookie: None, sk: 1 },
            origin: Origin::Live,
            old: TcpState::Close,
            new: TcpState::SynSent,
            flow: Flow { local: end, remote: end },
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
    fn room_is_used_again_and_empty() {
        let mut rooms = Rooms::default();
        let mut first = connection();
        first.fin(Ts(5), Some(ClosedBy::Local));
        first.fin(Ts(6), Some(ClosedBy::Remote));
        assert_eq!(first.first_fin(), Some((ClosedBy::Local, Ts(5))));
        rooms.take_back(&mut first);
        let mut second = connection();
        second.make_room(&mut rooms);
        assert!(rooms.spare.is_empty() && second.end.is_some());
        assert_eq!((second.first_fin(), second.mini()), (None, None));
    }

    #[test]
    fn few_boxes_wait() {
        let mut rooms = Rooms::default();
        for _ in 0..2 * SPARE {
            let mut connection = connection();
            connection.set_mini(Mini::inferred(Ts(1), TcpState::TimeWait));
            rooms.take_back(&mut connection);
        }
        assert_eq!(rooms.spare.len(), SPARE);
        rooms.take_back(&mut connection());
        assert_eq!(rooms.spare.len(), SPARE);
    }
}
