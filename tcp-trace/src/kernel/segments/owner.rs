//! Who a filter belongs to. A filter outlives the daemon that set it where that is killed, and then
//! only its name is left to tell; whether the daemon of that name still lives, an abstract Unix
//! socket tells: it is the namespace's, as the interfaces are, and goes with its process.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// What every name begins with.
const PREFIX: &str = "tcp-trace/segments/";

/// This daemon, for as long as this lives.
#[derive(Debug)]
pub(super) struct Owner {
    id: String,
    _claim: UnixListener,
}

impl Owner {
    /// Takes a name of its own in the network namespace of the calling thread.
    pub(super) fn claim() -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        // Containers give the same process id to everybody.
        let id = format!("{:x}-{:x}", std::process::id(), now.as_nanos());
        Ok(Self { _claim: bind(&id)?, id })
    }

    /// The name of a filter of this daemon's.
    pub(super) fn filter_name(&self, qdisc: Qdisc) -> String {
        let qdisc = match qdisc {
            Qdisc::Added => "added",
            Qdisc::Found => "found",
        };
        format!("{PREFIX}{}/{qdisc}", self.id)
    }
}

/// Where the qdisc of a filter comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qdisc {
    /// It was added for the filter.
    Added,
    /// It was there.
    Found,
}

/// Whose a filter is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    id: &'a str,
    /// Where its qdisc comes from.
    pub(super) qdisc: Qdisc,
}

/// Reads the name of a filter; `None` where it is none of a tcp-trace.
pub(super) fn named(filter: &str) -> Option<Named<'_>> {
    let (id, qdisc) = filter.strip_prefix(PREFIX)?.split_once('/')?;
    let qdisc = match qdisc {
        "added" => Qdisc::Added,
        "found" => Qdisc::Found,
        _ => return None,
    };
    let plain = |c: char| c.is_ascii_hexdigit() || c == '-';
    (!id.is_empty() && id.len() <= 64 && id.chars().all(plain)).then_some(Named { id, qdisc })
}

impl Named<'_> {
    /// Whether the daemon that set it lives; in doubt it does. Asked in the network namespace of
    /// the calling thread.
    pub(super) fn is_alive(&self) -> bool {
        bind(self.id).is_err()
    }
}

fn bind(id: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("{PREFIX}{id}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_as_long_as_it_is_held() {
        let owner = Owner::claim().unwrap();
        let name = owner.filter_name(Qdisc::Added);
        let read = named(&name).unwrap();
        assert_eq!(read.qdisc, Qdisc::Added);
        assert!(read.is_alive());
        let other = Owner::claim().unwrap();
        assert_ne!(named(&other.filter_name(Qdisc::Added)), Some(read));
        drop(owner);
        assert!(!read.is_alive());
    }

    #[test]
    fn names_of_others_are_nobodys() {
        for name in [
            "",
            "cil_from_netdev",
            "tcp-trace",
            "tcp-trace/segments/",
            "tcp-trace/segments//added",
            "tcp-trace/segments/1-2/lost",
            "tcp-trace/segments/1-2",
            "tcp-trace/segments/x y/added",
        ] {
            assert_eq!(named(name), None, "{name}");
        }
    }
}
