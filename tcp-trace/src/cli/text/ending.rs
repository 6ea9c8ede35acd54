//! How connections end, in words.

use super::{style::Paint, words};
use crate::{api::Connection, core::sentence::bytes_text};

/// Who closed first, in words.
pub(super) fn closer(connection: &Connection) -> Option<String> {
    match connection.closed_by.as_deref()? {
        "local" => Some(words::who(connection).to_owned()),
        "remote" => Some("the peer".to_owned()),
        "both" => Some("both sides at once".to_owned()),
        _ => None,
    }
}

/// How an end went that was not in order, and what to look at; `None` for one in order.
pub(super) fn failure(connection: &Connection) -> Option<String> {
    let who = words::who(connection);
    Some(match connection.close_reason.as_deref()? {
        "refused" => format!("refused: nobody listens on {}", words::endpoint(&connection.remote)),
        "connect_timeout" => "no answer to any SYN: host down, or a firewall drops".to_owned(),
        "retransmit_timeout" => "timed out: the peer stopped acknowledging".to_owned(),
        "keepalive_timeout" => "timed out: keep-alive probes went unanswered".to_owned(),
        "abort_unread_data" => match connection.recv_queue.as_ref().map(|queue| queue.unread_bytes)
        {
            Some(unread @ 1..) => {
                format!("aborted: {who} closed with {} unread, RST sent", bytes_text(unread))
            }
            _ => format!("aborted: {who} closed with data unread, RST sent"),
        },
        "abort_linger" => format!("aborted by {who} (SO_LINGER 0 or AF_UNSPEC), RST sent"),
        "listener_closed" => "the listener went away before accept(), RST sent".to_owned(),
        "orphan_killed" => "given up by the kernel: look at tcp_max_orphans and tcp_mem".to_owned(),
        "destroyed" => "destroyed from outside (ss -K)".to_owned(),
        "rst_received" => with_error("reset by the peer", connection),
        "rst_sent" => with_error("reset by this host", connection),
        "reset_after_fin" => "a RST cut the teardown short".to_owned(),
        "unknown" => unknown_failure(connection)?,
        _ => return None,
    })
}

fn unknown_failure(connection: &Connection) -> Option<String> {
    match connection.error.as_deref()? {
        "EADDRNOTAVAIL" => {
            Some("no local port is free towards this destination (EADDRNOTAVAIL)".to_owned())
        }
        error => Some(format!("failed: {error}")),
    }
}

fn with_error(text: &str, connection: &Connection) -> String {
    match &connection.error {
        Some(error) => format!("{text} ({error})"),
        None => text.to_owned(),
    }
}

/// Of a connection that this host alone has closed, as far as is known.
fn one_sided(connection: &Connection) -> Option<String> {
    let unanswered = connection.peer_closed != Some(true);
    connection.close_reason.as_deref().filter(|reason| *reason == "fin_active" && unanswered)?;
    let peer = match connection.peer_closed {
        _ if connection.mini => "the peer has not closed yet (FIN_WAIT2)",
        Some(_) => "the peer never did: its FIN did not come",
        None => "no FIN of the peer was seen",
    };
    Some(format!("closed by {}, {peer}", words::who(connection)))
}

/// How a connection ended: paint and words.
pub(super) fn ending(connection: &Connection) -> (Paint, String) {
    if let Some(failure) = failure(connection) {
        return (Paint::Red, failure);
    }
    if let Some(words) = one_sided(connection) {
        return (Paint::Plain, words);
    }
    let in_order = matches!(
        connection.close_reason.as_deref(),
        Some("fin_active" | "fin_passive" | "simultaneous")
    );
    match (closer(connection), in_order) {
        (Some(closer), true) => (Paint::Plain, format!("closed by {closer}, in order")),
        (Some(closer), false) => (Paint::Plain, format!("closed by {closer}")),
        (None, true) => (Paint::Plain, "closed in order".to_owned()),
        (None, false) => (Paint::Plain, "cause unknown".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    #[test]
    fn every_end_has_words_of_its_own() {
        let reasons = [
            "refused",
            "connect_timeout",
            "retransmit_timeout",
            "keepalive_timeout",
            "abort_unread_data",
            "abort_linger",
            "listener_closed",
            "orphan_killed",
            "destroyed",
            "rst_received",
            "rst_sent",
            "reset_after_fin",
            "fin_active",
            "unknown",
        ];
        let words: std::collections::HashSet<_> = reasons
            .into_iter()
            .map(|reason| ending(&fixtures::ended(reason, Some("local"))))
            .map(|(_, words)| words)
            .collect();
        assert_eq!(words.len(), reasons.len());
    }

    #[test]
    fn in_order_is_said_only_where_both_have_closed() {
        let rows = [
            (Some(true), false, "closed by curl, in order"),
            (Some(true), true, "closed by curl, in order"),
            (Some(false), false, "closed by curl, the peer never did: its FIN did not come"),
            (Some(false), true, "closed by curl, the peer has not closed yet (FIN_WAIT2)"),
            (None, true, "closed by curl, the peer has not closed yet (FIN_WAIT2)"),
            (None, false, "closed by curl, no FIN of the peer was seen"),
        ];
        for (peer_closed, mini, words) in rows {
            let ended = fixtures::ended("fin_active", Some("local"));
            let connection = Connection { mini, peer_closed, ..ended };
            assert_eq!(ending(&connection), (Paint::Plain, words.to_owned()));
        }
        // The peer closed first, whatever else is known.
        let ended = fixtures::ended("fin_passive", Some("remote"));
        let connection = Connection { peer_closed: None, ..ended };
        assert_eq!(ending(&connection).1, "closed by the peer, in order");
    }

    #[test]
    fn what_was_left_unread_is_said() {
        let mut connection = fixtures::ended("abort_unread_data", Some("local"));
        connection.recv_queue = Some(crate::api::RecvQueue { unread_bytes: 1, fin_read: None });
        let words = "aborted: curl closed with 1 B unread, RST sent";
        assert_eq!(ending(&connection), (Paint::Red, words.to_owned()));
    }
}
