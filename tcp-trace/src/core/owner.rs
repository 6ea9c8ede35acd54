//! Whose connection it is, and how we know.

use super::event::Comm;

/// The process a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Name of the thread that opened it.
    pub comm: Comm,
    /// Where the knowledge comes from.
    pub source: OwnerSource,
}

/// How an owner was found. Never from a state change that may run in softirq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerSource {
    /// `current` at CLOSE to `SYN_SENT`, which runs inside `connect()`.
    Connect,
    /// `current` at CLOSE to LISTEN, which runs inside `listen()`.
    Listen,
    /// The owner of the one listener the connection came in through.
    Listener,
    /// A descriptor seen in `/proc/PID/fd`.
    Descriptor,
}

impl OwnerSource {
    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Listener => "listener",
            Self::Descriptor => "descriptor",
        }
    }
}
