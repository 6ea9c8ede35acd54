//! What is said of a group in `CLOSE_WAIT`, in plain words.

use super::{Cause, Leak, main};
use crate::core::{
    clock::Ts,
    diagnosis::{
        Thresholds,
        casebook::Course,
        finding::{Advice, Line},
        group::{Group, Pile},
        service::{Key, Service},
        talk,
    },
    sentence::bytes_text,
};

/// What the kernel holds for a full socket, in bytes (`struct tcp_sock` and what belongs to it).
const SOCKET_BYTES: u64 = 2_304;

pub(super) fn name(group: &Group, key: &Key) -> String {
    let owner = group.owner.map_or_else(
        || "an unknown process".to_owned(),
        |owner| talk::process(owner.comm, owner.pid),
    );
    match key.service {
        Service::Of(remote) => format!("{owner} to {remote}"),
        Service::Ours(port) => format!("{owner} on port {port}"),
        Service::Other => format!("{owner} to others"),
    }
}

pub(super) fn pool(key: &Key, group: &Group) -> String {
    format!(
        "{}: {} in CLOSE_WAIT is a pool at its plateau, whose old ones are replaced",
        name(group, key),
        talk::number(group.count)
    )
}

pub(super) fn idle(key: &Key, group: &Group) -> String {
    format!(
        "{}: {} whose peer has closed and that nobody has used since: a pool, it seems; the next \
         use of each fails once",
        name(group, key),
        talk::counted(group.old(), "idle connection")
    )
}

pub(super) fn too_early(key: &Key, group: &Group, thresholds: &Thresholds) -> String {
    format!(
        "{}: {} in CLOSE_WAIT for more than {}, not watched for long enough to tell a leak from a \
         pool",
        name(group, key),
        talk::counted(group.old(), "socket"),
        talk::about(thresholds.older_than),
    )
}

pub(super) fn says(cause: Cause, pile: &Pile, elsewhere: bool) -> String {
    match cause {
        _ if elsewhere => "is done with sockets that another process still holds",
        Cause::NotClosed => "does not close sockets whose peer has closed",
        Cause::NotRead if pile.unread_bytes == 0 => "takes no notice that its peers have closed",
        Cause::NotRead => "does not read what its peers sent before they closed",
        Cause::NotAccepted => "does not accept connections, and those who wait have given up",
        Cause::SendBlocked => "waits to send to peers that have closed their side",
    }
    .to_owned()
}

pub(super) fn evidence(
    leak: &Leak<'_>,
    cause: Cause,
    pile: &Pile,
    now: Ts,
    thresholds: &Thresholds,
) -> Vec<Line> {
    let mut lines = vec![
        Line { connections: pile.ids(), ..Line::new("", summary(leak, now, thresholds)) },
        Line { connections: pile.ids(), ..Line::new("cause", because(cause, pile, leak.group)) },
        Line::new("where", whereabouts(leak.key.service, cause)),
    ];
    lines.extend(pile.origins.lines());
    if !pile.holders.is_empty() {
        lines.push(Line::new("held by", held_by(pile)));
    }
    lines.extend(leak.waits.map(|waits| waits.line(now)));
    lines.push(Line::new("moved", moved(pile)));
    if let Some(course) = leak.course {
        lines.push(Line::new("not", no_pool(course, now)));
    }
    lines
}

/// The figures of the first line.
fn summary(leak: &Leak<'_>, now: Ts, thresholds: &Thresholds) -> String {
    let mut parts = vec![format!(
        "{} older than {}",
        talk::counted(leak.group.old(), "socket"),
        talk::about(thresholds.older_than)
    )];
    if let Some(since) = leak.group.oldest() {
        let bound = if main(leak.group).1.or_earlier { "at least " } else { "" };
        parts.push(format!("oldest {bound}{}", talk::about(now.since(since))));
    }
    if let Some(growth) = &leak.growth {
        parts.push(talk::growth(growth));
    } else if let Some(grown) = &leak.grown {
        parts.push(talk::grown(grown, now));
    } else if leak.course.is_some_and(|course| course.history.tells()) {
        parts.push("not growing".to_owned());
    }
    let mut text = parts.join(", ");
    if let Some(exhaustion) = &leak.exhaustion {
        text += "; ";
        text += &talk::exhaustion(exhaustion);
    }
    text
}

fn because(cause: Cause, pile: &Pile, group: &Group) -> String {
    let (old, of_them) = (group.old(), talk::share(pile.count, group.old()));
    let others = Cause::ALL.into_iter().zip(&group.piles);
    let others: Vec<_> = others
        .filter(|(other, pile)| *other != cause && pile.count > 0)
        .map(|(other, pile)| format!("{} {}", talk::number(pile.count), other.name()))
        .collect();
    let others =
        if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    let says = match cause {
        Cause::NotClosed if pile.outside > 0 => {
            format!("no FIN has followed the peer's on {of_them}")
        }
        Cause::NotClosed => {
            format!("nothing is left to read on {of_them}, close() was never called")
        }
        Cause::NotRead if pile.unread_bytes == 0 => {
            format!("on {of_them} nobody has read the end of file")
        }
        Cause::NotRead => {
            format!("{} lie unread on {of_them}", bytes_text(pile.unread_bytes))
        }
        Cause::NotAccepted => {
            format!("{of_them} {} in the accept queue: nobody calls accept()", stands(old))
        }
        Cause::SendBlocked => format!(
            "{} on {of_them} are written and not acknowledged: the peer's window is closed, or the \
             peer is gone",
            bytes_text(pile.unsent_bytes)
        ),
    };
    format!("{}: {says}{others}", cause.name())
}

fn stands(count: u64) -> &'static str {
    if count == 1 { "stands" } else { "stand" }
}

fn whereabouts(service: Service, cause: Cause) -> String {
    match service {
        Service::Of(remote) => format!("outbound to {remote}"),
        Service::Ours(port) if cause == Cause::NotAccepted => format!("came in on port {port}"),
        Service::Ours(port) => format!("accepted on port {port}"),
        Service::Other => "many services, too many to be told apart".to_owned(),
    }
}

fn held_by(pile: &Pile) -> String {
    let mut by_process: Vec<(u32, String, Vec<i32>)> = Vec::new();
    for holder in &pile.holders {
        if let Some((.., fds)) = by_process.iter_mut().find(|(pid, ..)| *pid == holder.pid) {
            fds.push(holder.fd);
        } else {
            let name = talk::process(holder.comm, holder.pid);
            by_process.push((holder.pid, name, vec![holder.fd]));
        }
    }
    let more = pile.count > pile.holders.len() as u64;
    let text: Vec<_> = by_process
        .into_iter()
        .map(|(_, name, mut fds)| {
            fds.sort_unstable();
            format!("{name} as fd {}", talk::numbers(fds, more))
        })
        .collect();
    let shared = match pile.shared {
        0 => String::new(),
        shared => format!("; {} by several descriptors", talk::number(shared)),
    };
    text.join("; ") + &shared
}

fn moved(pile: &Pile) -> String {
    let (received, sent) = pile.moved;
    let kernel = pile.count.saturating_mul(SOCKET_BYTES).saturating_add(pile.unread_bytes);
    let silent = pile.silent.map_or_else(String::new, |silent| {
        format!("; peers silent for up to {} when last looked at", talk::about(silent))
    });
    format!(
        "{} received, {} sent; they hold about {} of kernel memory{silent}",
        bytes_text(received),
        bytes_text(sent),
        bytes_text(kernel)
    )
}

fn no_pool(course: &Course, now: Ts) -> String {
    let watched = talk::about(course.watched(now));
    match course.old_left {
        0 => format!("a connection pool: none of the old ones was closed or reused in {watched}"),
        left => format!(
            "a pool at its plateau: of the old ones only {} closed in {watched}",
            talk::number(left)
        ),
    }
}

pub(super) fn advice(leak: &Leak<'_>, cause: Cause, pile: &Pile, elsewhere: bool) -> Vec<Advice> {
    let outbound = leak.key.service.is_outbound();
    let is_nginx = leak.group.owner.is_some_and(|owner| talk::is_nginx(owner.comm));
    let mut advice = Vec::new();
    if let Some(waits) = &leak.waits {
        advice.push(Advice::Do(format!("see first why {} does not answer", waits.whom())));
    }
    advice.push(Advice::Do(
        match (cause, outbound) {
            _ if elsewhere => {
                "close the socket in every process that inherited it: open sockets with \
                 SOCK_CLOEXEC, and close them in the child after fork(); until the last \
                 descriptor is closed no FIN is sent"
            }
            (Cause::NotClosed, true) => {
                "close the response or the connection on every path, errors too \
                 (try-with-resources, with, defer)"
            }
            (Cause::NotClosed, false) => {
                "close each accepted socket once a read returns 0, on every path, errors too; with \
                 half-open sockets allowed (allowHalfOpen), end() is the program's own to call"
            }
            (Cause::NotRead, true) if pile.unread_bytes == 0 => {
                "let the client drop idle connections before the server does (an idle time below \
                 the server's keep-alive time), and limit the pool"
            }
            (Cause::NotRead, true) => {
                "read each response to its end or close it: an answer that nobody reads keeps its \
                 connection for ever"
            }
            (Cause::NotRead, false) if leak.waits.is_some() && !is_nginx => {
                "bound the time that an answer may take, and give up a request whose client is gone"
            }
            (Cause::NotRead, false) if leak.waits.is_some() => {
                "bound the time that an answer may take, and give up a request whose client is gone \
                 (nginx: a short proxy_read_timeout, no proxy_ignore_client_abort)"
            }
            (Cause::NotRead, false) => {
                "look what the threads that should read are waiting for (a lock, a backend, a full \
                 pool); and give up a request whose client is gone"
            }
            (Cause::NotAccepted, _) => {
                "look what the thread that should accept() is waiting for; all workers may be busy, \
                 or the process stopped"
            }
            (Cause::SendBlocked, _) => {
                "give up sending after a time: TCP_USER_TIMEOUT or SO_SNDTIMEO, then close()"
            }
        }
        .to_owned(),
    ));
    if let Some(left) = leak.exhaustion.and_then(|exhaustion| exhaustion.left) {
        let left = talk::about(left);
        advice.push(Advice::Do(format!("until then restart it: it has about {left} left")));
    }
    advice.push(Advice::Not(
        match cause {
            Cause::NotAccepted => {
                "a larger backlog: it makes the queue longer, and nobody is served"
            }
            _ => {
                "net.ipv4.tcp_fin_timeout: it is for FIN_WAIT2; no sysctl ends CLOSE_WAIT, only \
                 the process does"
            }
        }
        .to_owned(),
    ));
    advice
}

pub(super) fn unseen(leak: &Leak<'_>, pile: &Pile) -> Vec<String> {
    let mut unseen = Vec::new();
    if !leak.course.is_some_and(|course| course.history.tells()) {
        unseen.push("whether it grows: that takes time (--for 30s, or the daemon)".to_owned());
    }
    if leak.exhaustion.is_none() {
        unseen.push("descriptors in use and their limit".to_owned());
    }
    if !pile.holders_known && main(leak.group).0 != Cause::NotAccepted {
        unseen.push("which descriptors refer to them".to_owned());
    }
    if pile.outside > 0 {
        unseen.push("what was read: segments do not tell".to_owned());
    }
    // What nobody has accepted was accepted nowhere.
    if main(leak.group).0 != Cause::NotAccepted {
        unseen.extend(pile.origins.unseen());
    }
    if leak.owner.is_none() {
        unseen.push("whose they are".to_owned());
    }
    if pile.or_earlier {
        unseen.push("when the oldest was closed by its peer: it was there before".to_owned());
    }
    unseen
}
