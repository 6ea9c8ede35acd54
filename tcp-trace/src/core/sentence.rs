//! One plain sentence for each step of a timeline.

use std::time::Duration;

use super::{
    close::{CloseReason, Verdict},
    connection::Connection,
    direction::Direction,
    errno,
    tcp_state::TcpState as S,
    timeline::{Call, Detail, Mark, Step, StepKind},
};

/// What `step` of `connection` means.
#[must_use]
pub fn of_step(connection: &Connection, step: &Step) -> String {
    match step.kind {
        StepKind::State { from, to: S::Close, detail } => {
            let verdict = connection.closed.filter(|closed| closed.at == step.at);
            verdict.map_or_else(
                || "the connection ended".to_owned(),
                |closed| of_end(from, closed.verdict, detail, &process(connection)),
            )
        }
        StepKind::State { from, to, detail } => of_change(connection, from, to, detail),
        StepKind::Call { call: Call::Close, by } => {
            let caller = by.map_or_else(
                || "the process".to_owned(),
                |task| format!("{} {}", task.comm.text(), task.pid),
            );
            format!("close() by {caller}: the socket had already moved on, nothing is sent")
        }
        StepKind::Mark(mark) => of_mark(mark),
    }
}

/// The process to speak of.
fn process(connection: &Connection) -> String {
    connection.owner.map_or_else(
        || "the process".to_owned(),
        |owner| format!("{} {}", owner.comm.text(), owner.pid),
    )
}

fn of_change(connection: &Connection, from: S, to: S, detail: Detail) -> String {
    let process = process(connection);
    match (from, to) {
        (S::Close, S::SynSent) => format!("connect() by {process}"),
        (S::Close, S::Listen) => format!("listen() by {process}"),
        (S::Listen, S::SynRecv) => {
            "the peer's ACK ended the handshake; the listener gave birth to this socket".to_owned()
        }
        (S::SynSent, S::SynRecv) => "SYNs crossed: a simultaneous open".to_owned(),
        (S::SynSent, S::Established) => "the peer's SYN-ACK came: connected".to_owned(),
        (S::SynRecv, S::Established) if connection.direction == Direction::Outbound => {
            "both SYNs are acknowledged: connected".to_owned()
        }
        (S::SynRecv, S::Established) => format!("established; waiting for accept() by {process}"),
        (S::Established | S::SynRecv, S::FinWait1) => {
            format!("{} by {}: our FIN goes first", closing_call(detail), caller(detail, &process))
        }
        (_, S::CloseWait) => {
            let unread = match detail.unread_bytes {
                Some(0) | None => String::new(),
                Some(bytes) => format!(", {} unread", bytes_text(bytes)),
            };
            let queued =
                if detail.attached == Some(false) { "; still in the accept queue" } else { "" };
            format!(
                "the peer closed: its FIN came{unread}{queued}; waiting for {process} to close()"
            )
        }
        // Once the peer's FIN is in, close() and shutdown(SHUT_WR) leave the same traces.
        (S::CloseWait, S::LastAck) => format!(
            "close() or shutdown(SHUT_WR) by {}: our FIN follows the peer's",
            caller(detail, &process)
        ),
        (S::FinWait1, S::FinWait2) => {
            "the peer acknowledged our FIN; waiting for its own".to_owned()
        }
        (S::FinWait1, S::Closing) => "FINs crossed: both sides closed at once".to_owned(),
        _ => format!("{from} became {to}"),
    }
}

fn caller(detail: Detail, process: &str) -> String {
    detail
        .caller
        .map_or_else(|| process.to_owned(), |task| format!("{} {}", task.comm.text(), task.pid))
}

/// `sk_shutdown` holds both bits on `close()`, only the send bit on `shutdown(SHUT_WR)`.
fn closing_call(detail: Detail) -> &'static str {
    match detail.shutdown {
        Some(2) => "shutdown(SHUT_WR)",
        Some(_) => "close()",
        None => "close() or shutdown()",
    }
}

/// What an end means.
#[must_use]
pub fn of_end(from: S, verdict: Verdict, detail: Detail, process: &str) -> String {
    let error = errno::name(verdict.error);
    match verdict.reason {
        CloseReason::FinActive => match detail.fin_received {
            Some(true) => "the peer's FIN came: closed in order, TIME_WAIT follows for 60 s",
            Some(false) => {
                "closed here and acknowledged; the kernel waits for the peer's FIN with a \
                 mini-socket (FIN_WAIT2 for tcp_fin_timeout, then TIME_WAIT)"
            }
            None => "closed here and acknowledged; a mini-socket of the kernel does the rest",
        }
        .to_owned(),
        CloseReason::FinPassive => "the peer acknowledged our FIN: closed in order".to_owned(),
        CloseReason::Simultaneous => {
            "the peer acknowledged our FIN: closed in order, TIME_WAIT follows for 60 s".to_owned()
        }
        CloseReason::RstReceived => format!(
            "the peer reset the connection ({})",
            error.unwrap_or("no error left for the process")
        ),
        CloseReason::RstSent => "this host reset the connection".to_owned(),
        CloseReason::Refused => {
            "refused: the peer answered the SYN with a RST (nobody listens there)".to_owned()
        }
        CloseReason::ConnectTimeout => "no answer to any SYN: connect() timed out".to_owned(),
        CloseReason::RetransmitTimeout => {
            "what was sent was never acknowledged: retransmissions ran out".to_owned()
        }
        CloseReason::KeepaliveTimeout => "keep-alive probes were never answered".to_owned(),
        CloseReason::AbortUnreadData => {
            format!("close() by {process} with received data unread: the kernel sends a RST")
        }
        CloseReason::AbortLinger => format!(
            "abort by {process} (SO_LINGER 0, or connect() to AF_UNSPEC): the kernel sends a RST"
        ),
        CloseReason::ListenerClosed => {
            "the listener went away before accept(): the kernel sends a RST".to_owned()
        }
        CloseReason::OrphanKilled => {
            "the kernel gave up the closed socket (tcp_max_orphans, memory or SO_LINGER2)"
                .to_owned()
        }
        CloseReason::Destroyed => "destroyed from outside (ss -K)".to_owned(),
        CloseReason::ResetAfterFin => "a RST ended the teardown".to_owned(),
        CloseReason::Unknown => of_unknown_end(from, verdict.error, process),
    }
}

fn of_unknown_end(from: S, error: i32, process: &str) -> String {
    match (from, error) {
        (S::SynSent, errno::EADDRNOTAVAIL) => {
            "connect() failed: no local port was free towards this destination (EADDRNOTAVAIL)"
                .to_owned()
        }
        (S::SynSent, 0) => format!("given up by {process} before the peer answered"),
        (S::Listen, _) => format!("{process} stopped listening"),
        (_, 0) => "the connection ended; the evidence does not tell why".to_owned(),
        (_, error) => format!(
            "the connection failed: {}",
            errno::name(error).map_or_else(|| format!("errno {error}"), str::to_owned)
        ),
    }
}

fn of_mark(mark: Mark) -> String {
    match mark {
        Mark::Found(state) => {
            format!("found in {state}: what came before was not traced, ages are at least this")
        }
        Mark::Missed { known, actual } => {
            format!("steps from {known} to {actual} were not seen")
        }
        Mark::Illegal { from, to } => {
            format!("{from} to {to} is no change Linux makes: something was missed here")
        }
        Mark::Reused => {
            "the socket lives again as another connection; this end was not seen".to_owned()
        }
        Mark::Reconciled => "gone when the kernel was asked; this end was not seen".to_owned(),
    }
}

/// A number of bytes as a person says it.
#[must_use]
pub fn bytes_text(bytes: impl Into<u64>) -> String {
    let bytes: u64 = bytes.into();
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let scaled = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", scaled(1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", scaled(1_000_000)),
        _ => format!("{:.1} GB", scaled(1_000_000_000)),
    }
}

/// A duration as a person says it: two figures at the most, no scientific noise.
#[must_use]
pub fn span_text(span: Duration) -> String {
    let (seconds, exact) = (span.as_secs(), span.as_secs_f64());
    // 9.95 rounds to 10.0, which a person would write without its zero.
    match seconds {
        0 if span.as_micros() < 1_000 => format!("{} µs", span.as_micros()),
        0 if exact < 0.009_95 => format!("{:.1} ms", exact * 1e3),
        0 => format!("{} ms", span.as_millis().max(10)),
        1..10 if exact < 9.95 => format!("{exact:.1} s"),
        1..60 => format!("{} s", seconds.max(10)),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_as_a_person_says_them() {
        let rows = [
            (Duration::from_nanos(500), "0 µs"),
            (Duration::from_micros(61), "61 µs"),
            (Duration::from_micros(8_100), "8.1 ms"),
            (Duration::from_micros(9_970), "10 ms"),
            (Duration::from_millis(44), "44 ms"),
            (Duration::from_millis(9_970), "10 s"),
            (Duration::from_millis(1_500), "1.5 s"),
            (Duration::from_secs(42), "42 s"),
            (Duration::from_secs(61), "1 min 1 s"),
            (Duration::from_mins(192), "3 h 12 min"),
            (Duration::from_secs(200_000), "2 d 7 h"),
        ];
        for (span, text) in rows {
            assert_eq!(span_text(span), text);
        }
    }

    #[test]
    fn bytes_are_said_as_a_person_says_them() {
        assert_eq!(bytes_text(412u32), "412 B");
        assert_eq!(bytes_text(1_900u32), "1.9 kB");
        assert_eq!(bytes_text(5_300_000_000u64), "5.3 GB");
    }

    #[test]
    fn every_reason_has_a_sentence_of_its_own() {
        let sentences: std::collections::HashSet<_> = CloseReason::ALL
            .into_iter()
            .map(|reason| {
                let verdict = Verdict { reason, by: None, error: 0 };
                of_end(S::Established, verdict, Detail::default(), "p 1")
            })
            .collect();
        assert_eq!(sentences.len(), CloseReason::ALL.len());
    }
}
