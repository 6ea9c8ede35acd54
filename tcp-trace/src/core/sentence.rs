//! One plain sentence for each step of a timeline.

use std::time::Duration;

use super::{
    close::{CloseReason, ClosedBy, Verdict},
    connection::Connection,
    direction::Direction,
    errno,
    event::{Flow, Task, TimeWaitEnd},
    owner::OwnerSource,
    story::{Told, What},
    tcp_state::TcpState as S,
    timeline::{Call, Detail, Mark, Segment, Step, StepKind},
};

mod wire;

/// What `told` means, of the story of `connection`.
#[must_use]
pub fn of_told(connection: &Connection, told: &Told) -> String {
    match &told.what {
        What::Step(kind) => of_step(connection, &Step { at: told.at, kind: *kind }),
        What::Wire(segment) => wire::of_segment(segment),
        What::Omitted(1) => "one more segment was not kept".to_owned(),
        What::Omitted(count) => format!("{count} more segments were not kept"),
    }
}

/// What `step` of `connection` means.
#[must_use]
pub fn of_step(connection: &Connection, step: &Step) -> String {
    match step.kind {
        StepKind::State { from, to: S::Close, detail } => {
            let verdict = connection.judged().filter(|judged| judged.at == step.at);
            verdict.map_or_else(
                || "the connection ended".to_owned(),
                |closed| of_end(from, closed.verdict, detail, &process(connection)),
            )
        }
        StepKind::State { from, to, detail } => of_change(connection, from, to, detail),
        StepKind::Call { call, by, state } => of_call(connection, call, by, state),
        StepKind::Segment { segment, count, .. } => of_segment(segment, count),
        StepKind::MiniBorn { substate, inferred, detail, .. } => {
            of_mini_born(connection, substate, inferred, detail)
        }
        StepKind::MiniEnded { substate, why } => {
            of_mini_end(substate, why, connection.mini().is_some_and(|mini| mini.inferred))
        }
        StepKind::Mark(Mark::Found(state)) if is_captured(connection) => {
            format!("found in {state}: what came before was not captured, ages are at least this")
        }
        StepKind::Mark(mark) => of_mark(mark),
    }
}

/// Whether it is known from the segments of a capture alone.
fn is_captured(connection: &Connection) -> bool {
    connection.transfer.is_some_and(|transfer| transfer.outside)
}

fn of_call(connection: &Connection, call: Call, by: Option<Task>, state: S) -> String {
    let caller = by.map_or_else(
        || "the process".to_owned(),
        |task| format!("{} {}", task.comm.text(), task.pid),
    );
    let Flow { local, remote } = connection.flow();
    match (call, state) {
        (Call::Connect, _) => format!("connect() by {caller} sends the SYN: {local} to {remote}"),
        (Call::Accept, S::SynRecv) => {
            format!("accept() by {caller}, before the handshake was over (Fast Open)")
        }
        (Call::Accept, _) => format!("accept() by {caller}"),
        (Call::Close, S::Listen | S::SynSent | S::SynRecv | S::Established | S::CloseWait) => {
            format!("close() by {caller}: no descriptor refers to the socket any more")
        }
        (Call::Close, _) => {
            format!("close() by {caller}: the socket had already moved on, nothing is sent")
        }
    }
}

fn of_segment(segment: Segment, count: u32) -> String {
    let times = match count {
        1 => String::new(),
        2 => " twice".to_owned(),
        more => format!(" {more} times"),
    };
    match segment {
        Segment::SynReceived => "the peer's SYN came: the handshake is half done".to_owned(),
        Segment::SynAckAgain => format!("the SYN-ACK was sent again{times}: no ACK had come"),
        Segment::Retransmit(S::SynSent) => format!("the SYN was sent again{times}: no answer"),
        Segment::Retransmit(S::FinWait1 | S::LastAck | S::Closing) => {
            format!("the FIN, or data before it, was sent again{times}: no ACK had come")
        }
        Segment::Retransmit(_) => format!("a segment was sent again{times}: no ACK had come"),
        Segment::ResetSent(_) => format!("this host sent a RST{times}"),
    }
}

fn of_mini_born(connection: &Connection, substate: S, inferred: bool, detail: Detail) -> String {
    let both = connection.first_fin().is_some_and(|(by, _)| by == ClosedBy::Both);
    let text = match substate {
        S::TimeWait if both => "the peer acknowledged our FIN: closed in order; the kernel keeps",
        S::TimeWait if detail.fin_received == Some(true) => {
            "the peer's FIN came: closed in order; the kernel keeps"
        }
        S::TimeWait => "closed in order; the kernel keeps",
        _ => "closed here and acknowledged; a mini-socket of the kernel waits for the peer's FIN",
    };
    let keeps = if substate == S::TimeWait { " the ports for 60 s" } else { "" };
    let how = if inferred { " (inferred)" } else { "" };
    format!("{text}{keeps}{how}")
}

fn of_mini_end(substate: S, why: Option<TimeWaitEnd>, inferred: bool) -> String {
    let name = substate.kernel_name();
    match why {
        Some(TimeWaitEnd::Expired) if substate == S::FinWait2 && inferred => {
            "no FIN of the peer was seen: it is waited for no longer (inferred)".to_owned()
        }
        Some(TimeWaitEnd::Expired) if substate == S::FinWait2 => {
            "the peer never closed: its FIN is waited for no longer (tcp_fin_timeout)".to_owned()
        }
        Some(TimeWaitEnd::Expired) => format!("{name} ran out: the ports are free again"),
        Some(TimeWaitEnd::Reused) => {
            format!("a new connection between the same ends took the place of {name}")
        }
        Some(TimeWaitEnd::Killed) => {
            format!("{name} was ended from outside (ss -K, or its network namespace went away)")
        }
        Some(TimeWaitEnd::Reset) => {
            format!("{name} ended early: a RST came, or data that nobody can read")
        }
        None => format!("{name} is over"),
    }
}

/// The process to speak of.
fn process(connection: &Connection) -> String {
    connection.owner().map_or_else(
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
        (S::SynRecv, S::Established) if detail.attached == Some(true) => {
            "the peer's ACK ended the handshake: established".to_owned()
        }
        (S::SynRecv, S::Established) => {
            format!("established; waiting for accept() by {}", listener(connection))
        }
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
        (S::FinWait2, S::TimeWait) => {
            "the peer's FIN came: closed in order; the kernel keeps the ports for 60 s".to_owned()
        }
        (S::FinWait1, S::Closing) => "FINs crossed: both sides closed at once".to_owned(),
        _ => format!("{from} became {to}"),
    }
}

/// Who is to call `accept()`: not known before, and told by a step of its own after.
fn listener(connection: &Connection) -> String {
    match connection.owner() {
        Some(owner) if owner.source == OwnerSource::Accept => "the process".to_owned(),
        _ => process(connection),
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
        CloseReason::FinActive if detail.fin_received == Some(true) => {
            "the peer's FIN came: closed in order, without TIME_WAIT".to_owned()
        }
        CloseReason::FinActive => {
            "closed here and acknowledged; nothing waits for the peer's FIN any more".to_owned()
        }
        CloseReason::FinPassive => "the peer acknowledged our FIN: closed in order".to_owned(),
        CloseReason::Simultaneous => {
            "FINs crossed, both are acknowledged: closed in order, without TIME_WAIT".to_owned()
        }
        CloseReason::RstReceived => format!(
            "the peer reset the connection ({})",
            error.unwrap_or("no error left for the process")
        ),
        CloseReason::RstSent if detail.attached.is_none() => {
            "this end sent a RST: unread data at close(), SO_LINGER 0, or data for a closed socket"
                .to_owned()
        }
        CloseReason::RstSent => {
            "data came for the closed socket, or TCP_LINGER2 lets none wait: this host answers with \
             a RST"
                .to_owned()
        }
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
            "the kernel gave up the closed socket (tcp_max_orphans, memory or TCP_LINGER2)"
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
        Mark::Corrected { known, actual } => {
            format!("found in {actual} when the kernel was asked; steps from {known} were not seen")
        }
        Mark::NetnsGone => "its network namespace is gone, and the socket with it".to_owned(),
        Mark::Overdue => "over by any reckoning; this end was not seen".to_owned(),
        Mark::TimeWaitRefused => {
            "no TIME_WAIT: the table of mini-sockets is full (tcp_max_tw_buckets)".to_owned()
        }
        Mark::Folded(1) => "folded: told when it had lasted, and not at once".to_owned(),
        Mark::Folded(steps) => {
            format!("folded: {steps} steps told in one record, each with its own time")
        }
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
