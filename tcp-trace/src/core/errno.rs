//! Names of the errors a TCP socket can hold in `sk_err`.

/// The errno's name, `None` for one that TCP does not raise.
#[must_use]
pub fn name(errno: i32) -> Option<&'static str> {
    CONNECT_ERRORS.iter().find(|(number, _)| *number == errno).map(|(_, name)| *name).or(
        match errno {
            32 => Some("EPIPE"),
            71 => Some("EPROTO"),
            _ => None,
        },
    )
}

/// `EADDRNOTAVAIL`: no local port is left towards the destination.
pub const EADDRNOTAVAIL: i32 = 99;
/// `ECONNABORTED`: the socket was destroyed from outside (`ss -K`).
pub const ECONNABORTED: i32 = 103;
/// `ECONNRESET`: a RST arrived.
pub const ECONNRESET: i32 = 104;
/// `EPIPE`: a RST arrived after the peer's FIN.
pub const EPIPE: i32 = 32;
/// `ETIMEDOUT`: retransmissions or keep-alive probes ran out.
pub const ETIMEDOUT: i32 = 110;
/// `ECONNREFUSED`: a RST answered our SYN.
pub const ECONNREFUSED: i32 = 111;

/// Errors that end a `connect()`, by number and name.
pub const CONNECT_ERRORS: [(i32, &str); 9] = [
    (EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (ECONNABORTED, "ECONNABORTED"),
    (ECONNRESET, "ECONNRESET"),
    (ETIMEDOUT, "ETIMEDOUT"),
    (ECONNREFUSED, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_linux_numbers() {
        assert_eq!(name(libc::ECONNREFUSED), Some("ECONNREFUSED"));
        assert_eq!(name(libc::ETIMEDOUT), Some("ETIMEDOUT"));
        assert_eq!(name(libc::EHOSTUNREACH), Some("EHOSTUNREACH"));
        assert_eq!(name(libc::EADDRNOTAVAIL), Some("EADDRNOTAVAIL"));
        assert_eq!(name(libc::EPIPE), Some("EPIPE"));
        assert_eq!(name(0), None);
    }
}
