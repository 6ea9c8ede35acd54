//! What `show` says first of a connection, and what it waits for last.

use super::{ending, style::Paint, words};
use crate::{api::Connection, core::sentence::bytes_text};

/// What the operator wants to know first: whose move it is, or how it ended.
pub(super) fn sentence(connection: &Connection) -> String {
    let who = words::who(connection);
    if connection.closed_at.is_some() {
        return how_it_ended(connection);
    }
    let subject = if connection.owner.is_some() { who } else { "The process" };
    match connection.state.as_str() {
        "close_wait" => close_wait(connection, who),
        "established" => "Open: neither side has closed.".to_owned(),
        "syn_sent" => "The peer has not answered the SYN yet.".to_owned(),
        "syn_recv" | "new_syn_recv" => "The peer has not completed the handshake yet.".to_owned(),
        "fin_wait1" => format!("{subject} has closed; the peer has not acknowledged the FIN yet."),
        "fin_wait2" => {
            format!("{subject} has closed; the peer has acknowledged it, not closed itself.")
        }
        "closing" => "Both sides have closed at once; the last ACK is missing.".to_owned(),
        "last_ack" => format!("Both sides have closed, {who} last; the last ACK is missing."),
        "time_wait" if connection.close_reason.is_some() => {
            format!(
                "{}; the kernel keeps the ports for 60 s.",
                capital(ending::ending(connection).1)
            )
        }
        "time_wait" => format!("{subject} closed first; the kernel keeps the ports for 60 s."),
        "listen" => "Waiting for connections.".to_owned(),
        _ => "Nothing more is known.".to_owned(),
    }
}

/// How that is painted.
pub(super) fn paint(connection: &Connection) -> Paint {
    match connection.state.as_str() {
        "close_wait" => Paint::Yellow,
        _ if ending::failure(connection).is_some() => Paint::Red,
        _ => Paint::Plain,
    }
}

fn how_it_ended(connection: &Connection) -> String {
    if words::is_listener(connection) {
        return format!("{} stopped listening.", words::who(connection));
    }
    let (_, ending) = ending::ending(connection);
    let told = match &connection.error {
        Some(error) if !ending.contains(error.as_str()) => format!("; the process gets {error}"),
        _ => String::new(),
    };
    capital(format!("{ending}{told}."))
}

fn capital(mut text: String) -> String {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

fn close_wait(connection: &Connection, who: &str) -> String {
    let evidence = match connection.recv_queue.as_ref().map(|q| (q.unread_bytes, q.fin_read)) {
        Some((_, Some(true))) => "it has read all there was and never called close()".to_owned(),
        Some((bytes @ 1.., _)) => {
            let bytes = bytes_text(bytes);
            format!("{bytes} and the end of file stood unread when last looked at")
        }
        Some((0, Some(false))) => "the end of file stood unread when last looked at".to_owned(),
        _ => "whether it has read the end of file is not known".to_owned(),
    };
    format!("The peer has closed, {who} has not: {evidence}.")
}

/// Who has to move for an open connection to go on.
pub(super) fn awaited(connection: &Connection) -> String {
    match connection.state.as_str() {
        "close_wait" => format!(": the next FIN is {}'s to send", words::who(connection)),
        "fin_wait2" => ": the next FIN is the peer's to send".to_owned(),
        "fin_wait1" | "closing" | "last_ack" => ": our FIN is the peer's to acknowledge".to_owned(),
        "syn_sent" => ": the SYN is the peer's to answer".to_owned(),
        "syn_recv" | "new_syn_recv" => ": the SYN-ACK is the peer's to acknowledge".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn every_state_has_a_verdict_of_its_own() {
        let states = [
            "established",
            "syn_sent",
            "syn_recv",
            "fin_wait1",
            "fin_wait2",
            "time_wait",
            "close_wait",
            "last_ack",
            "listen",
            "closing",
        ];
        let with = |state: &str| Connection { state: state.to_owned(), owner: None, ..java() };
        let verdicts: std::collections::HashSet<_> =
            states.into_iter().map(|state| sentence(&with(state))).collect();
        assert_eq!(verdicts.len(), states.len());
        assert!(verdicts.iter().all(|text| text.starts_with(char::is_uppercase)), "{verdicts:?}");
    }
}
