//! Where the peer stood when it sent a segment: no more than the segment proves.

use super::rungs::has;
use crate::api::Wire;

/// What has passed so far.
#[derive(Debug, Default)]
pub(super) struct Peer {
    state: Option<&'static str>,
    /// Whether it has had our SYN, so that its first plain segment proves it established.
    opened: bool,
    /// Sequence number after this host's FIN.
    our_fin: Option<u32>,
    /// Acknowledgement number of this host's FIN.
    our_fin_ack: Option<u32>,
    /// Sequence number after its own FIN.
    its_fin: Option<u32>,
}

impl Peer {
    /// Its state as `wire` proves it, where that is another than before.
    pub(super) fn after(&mut self, wire: &Wire) -> Option<&'static str> {
        let flag = |flag| has(&wire.flags, flag);
        let own = flag("SYN") || flag("FIN");
        let end = wire.seq.wrapping_add(wire.len).wrapping_add(u32::from(own));
        if wire.dir == "out" {
            self.opened |= flag("SYN");
            if flag("FIN") {
                (self.our_fin, self.our_fin_ack) = (Some(end), wire.ack);
            }
            return None;
        }
        let state = self.proven(wire)?;
        if flag("FIN") && !flag("RST") {
            self.its_fin = Some(end);
        }
        (self.state.replace(state) != Some(state)).then_some(state)
    }

    fn proven(&self, wire: &Wire) -> Option<&'static str> {
        let flag = |flag| has(&wire.flags, flag);
        let covers = |ack: Option<u32>, end: Option<u32>| match (ack, end) {
            (Some(ack), Some(end)) => ack.wrapping_sub(end) < 1 << 31,
            _ => false,
        };
        let has_our_fin = covers(wire.ack, self.our_fin);
        if flag("RST") {
            return Some("close");
        }
        match (flag("SYN"), flag("FIN")) {
            // Once it is open, a SYN is of another life.
            (true, _) if self.state.is_some_and(|state| !state.starts_with("syn")) => None,
            (true, _) if flag("ACK") => Some("syn_recv"),
            (true, _) => Some("syn_sent"),
            (false, true) if has_our_fin => Some("last_ack"),
            (false, true) => Some("fin_wait1"),
            (false, false) if !has_our_fin => {
                (self.opened && self.its_fin.is_none()).then_some("established")
            }
            (false, false) if self.its_fin.is_none() => Some("close_wait"),
            // Our FIN told it whether its own had come here.
            (false, false) if covers(self.our_fin_ack, self.its_fin) => Some("time_wait"),
            (false, false) => Some("closing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::fixtures::wire, *};

    fn states(rows: &[(&str, &str, u32, Option<u32>)]) -> Vec<Option<&'static str>> {
        let mut peer = Peer::default();
        rows.iter()
            .map(|(dir, flags, seq, ack)| peer.after(&wire(dir, flags, *seq, *ack)))
            .collect()
    }

    #[test]
    fn a_client_that_closes_first() {
        let proven = states(&[
            ("in", "SYN", 0, None),
            ("out", "SYN,ACK", 0, Some(1)),
            ("in", "ACK", 1, Some(1)),
            ("in", "FIN,ACK", 413, Some(1)),
            ("out", "ACK", 1, Some(414)),
            ("out", "FIN,ACK", 1, Some(414)),
            ("in", "ACK", 414, Some(2)),
        ]);
        let wanted = [
            Some("syn_sent"),
            None,
            Some("established"),
            Some("fin_wait1"),
            None,
            None,
            Some("time_wait"),
        ];
        assert_eq!(proven, wanted);
    }

    #[test]
    fn a_server_that_closes_second_at_once_or_at_the_same_time() {
        let second = states(&[
            ("out", "FIN,ACK", 9, Some(1)),
            ("in", "ACK", 1, Some(10)),
            ("in", "FIN,ACK", 1, Some(10)),
        ]);
        assert_eq!(second, [None, Some("close_wait"), Some("last_ack")]);
        let three = states(&[("out", "FIN,ACK", 9, Some(1)), ("in", "FIN,ACK", 1, Some(10))]);
        assert_eq!(three, [None, Some("last_ack")]);
        let crossed = states(&[
            ("out", "FIN,ACK", 9, Some(1)),
            ("in", "FIN,ACK", 1, Some(9)),
            ("in", "ACK", 2, Some(10)),
        ]);
        assert_eq!(crossed, [None, Some("fin_wait1"), Some("closing")]);
    }

    #[test]
    fn an_old_syn_proves_nothing_and_a_reset_all() {
        let proven = states(&[
            ("out", "SYN", 0, None),
            ("in", "SYN,ACK", 0, Some(1)),
            ("in", "ACK", 1, Some(1)),
            ("in", "SYN", 70, None),
            ("in", "RST", 1, None),
        ]);
        assert_eq!(proven, [None, Some("syn_recv"), Some("established"), None, Some("close")]);
    }
}
