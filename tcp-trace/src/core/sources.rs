//! What the kernel's hooks tell on this host, so that the rest is inferred and nothing twice.

/// Which things reach the table as events of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Births and ends of mini-sockets; without them `TIME_WAIT` is inferred.
    pub time_wait: bool,
    /// Calls of `accept()`, and with it those of `connect()` and `close()`.
    pub calls: bool,
    /// RSTs sent.
    pub resets: bool,
}

impl Sources {
    /// From the names of the programs that are attached.
    #[must_use]
    pub fn from_programs(names: &[impl AsRef<str>]) -> Self {
        let any = |start: &str| names.iter().any(|name| name.as_ref().starts_with(start));
        Self {
            time_wait: any("time_wait_born"),
            calls: any("accept_"),
            resets: any("reset_sent") || any("send_reset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_name_says_what_it_tells() {
        assert_eq!(Sources::from_programs(&["state_tp_btf"]), Sources::default());
        let sources = Sources::from_programs(&["time_wait_born_fentry", "accept_fexit"]);
        assert!(sources.time_wait && sources.calls && !sources.resets);
        assert!(Sources::from_programs(&["reset_sent_tp_btf".to_owned()]).resets);
    }
}
