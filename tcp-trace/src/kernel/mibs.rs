//! What the kernel itself counts about TCP in a network namespace: `/proc/net/snmp` and
//! `/proc/net/netstat`.
//!
//! The columns differ between kernels, so a figure is found by its name, and absent where a kernel
//! does not have it.

use std::{fs, io};

use crate::core::coverage::{Mib, Mibs};

/// Reads the figures of the calling thread's network namespace.
///
/// # Errors
/// Where `/proc` is not there.
pub(crate) fn read() -> io::Result<Mibs> {
    let mut mibs = Mibs::default();
    for file in ["/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"] {
        parse(&fs::read_to_string(file)?, &mut mibs);
    }
    Ok(mibs)
}

/// Takes the known figures out of pairs of lines, names above values. Total.
fn parse(text: &str, mibs: &mut Mibs) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let Some((group, names)) = names.split_once(": ") else { continue };
        let Some(values) = values.strip_prefix(group).and_then(|rest| rest.strip_prefix(": "))
        else {
            continue;
        };
        for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
            let known = Mib::ALL.into_iter().find(|mib| mib.place() == (group, name));
            // `MaxConn` can be -1; none that is wanted can.
            if let (Some(mib), Ok(value)) = (known, value.parse()) {
                mibs.set(mib, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SNMP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 2 64
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab
Tcp: 1 200 120000 -1 7 8 9 10 11
Udp: InDatagrams NoPorts
Udp: 5 6
";

    fn parsed(text: &str) -> Mibs {
        let mut mibs = Mibs::default();
        parse(text, &mut mibs);
        mibs
    }

    #[test]
    fn figures_are_found_by_name_and_absent_where_the_kernel_has_none() {
        let mibs = parsed(SNMP);
        assert_eq!(mibs.get(Mib::ActiveOpens), Some(7));
        assert_eq!(mibs.get(Mib::CurrEstab), Some(11));
        assert_eq!(mibs.get(Mib::OutRsts), None);
        let other = parsed("TcpExt: Strange TWKilled TW\nTcpExt: 1 2 3\n");
        assert_eq!((other.get(Mib::TimeWaitKilled), other.get(Mib::TimeWait)), (Some(2), Some(3)));
    }

    #[test]
    fn lines_that_do_not_belong_together_are_passed_over() {
        let text = "Tcp: ActiveOpens\nTcpExt: 5\nTcp: ActiveOpens\nTcp: x\nTcp:\n";
        assert_eq!(parsed(text), Mibs::default());
        assert_eq!(parsed("Tcp: PassiveOpens ActiveOpens\nTcp: 5").get(Mib::PassiveOpens), Some(5));
    }

    #[test]
    fn this_kernel_has_them() {
        let mibs = read().unwrap();
        for mib in [Mib::ActiveOpens, Mib::PassiveOpens, Mib::EstabResets, Mib::TimeWait] {
            assert!(mibs.get(mib).is_some(), "{mib:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed(text in any::<String>()) {
            let _ = parsed(&text);
            let _ = parsed(&format!("Tcp: {text}\nTcp: {text}"));
        }
    }
}
