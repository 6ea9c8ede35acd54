//! What the kernel allows TCP in a network namespace: its settings, and how much of it is in use.

use std::{fs, path::Path, str::FromStr};

use crate::core::diagnosis::evidence::NetnsFacts;

/// Reads those of the calling thread's network namespace. What is not there stays unknown.
pub(crate) fn read() -> NetnsFacts {
    read_under(Path::new("/proc"))
}

/// `tcp_max_orphans`, where the calling thread's namespace shows it.
pub(crate) fn max_orphans() -> Option<u64> {
    number(&fs::read_to_string("/proc/sys/net/ipv4/tcp_max_orphans").ok()?)
}

fn read_under(procfs: &Path) -> NetnsFacts {
    let ipv4 = procfs.join("sys/net/ipv4");
    let text = |name: &str| fs::read_to_string(ipv4.join(name)).ok();
    let sockstat = fs::read_to_string(procfs.join("thread-self/net/sockstat")).unwrap_or_default();
    let ports = text("ip_local_port_range").and_then(|text| pair(&text));
    NetnsFacts {
        ports,
        reserved: reserved(&text("ip_local_reserved_ports").unwrap_or_default(), ports),
        tw_reuse: text("tcp_tw_reuse").and_then(|text| number(&text)),
        timestamps: text("tcp_timestamps").and_then(|text| number(&text)),
        tw_buckets: text("tcp_max_tw_buckets").and_then(|text| number(&text)),
        max_orphans: text("tcp_max_orphans").and_then(|text| number(&text)),
        fin_timeout: text("tcp_fin_timeout").and_then(|text| number(&text)),
        somaxconn: fs::read_to_string(procfs.join("sys/net/core/somaxconn"))
            .ok()
            .and_then(|text| number(&text)),
        syn_backlog: text("tcp_max_syn_backlog").and_then(|text| number(&text)),
        syncookies: text("tcp_syncookies").and_then(|text| number(&text)),
        orphans: of_sockstat(&sockstat, "orphan"),
        memory_pages: of_sockstat(&sockstat, "mem"),
        memory_limit: text("tcp_mem").and_then(|text| number(text.split_whitespace().last()?)),
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// How many of `ports` a list such as `8080,9000-9100` keeps back.
fn reserved(text: &str, ports: Option<(u16, u16)>) -> u32 {
    let Some((first, last)) = ports else { return 0 };
    let range = |part: &str| -> Option<u32> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number::<u16>(from)?.max(first), number::<u16>(to)?.min(last));
        Some(u32::from(to.checked_sub(from)?) + 1)
    };
    text.trim().split(',').filter_map(range).sum()
}

/// A figure of the line `TCP:`.
fn of_sockstat(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reserved_ports_count_as_far_as_they_lie_in_the_range() {
        let ports = Some((100, 200));
        let rows = [("", 0), ("150", 1), ("90-110,199-300", 13), ("1-99,201-300", 0), ("x,150", 1)];
        for (text, count) in rows {
            assert_eq!(reserved(text, ports), count, "{text}");
        }
        assert_eq!(reserved("150", None), 0);
    }

    #[test]
    fn figures_are_found_by_name() {
        let text = "sockets: used 25\nTCP: inuse 1 orphan 3 tw 8 alloc 1 mem 303\nUDP: mem 1\n";
        assert_eq!(of_sockstat(text, "orphan"), Some(3));
        assert_eq!(of_sockstat(text, "mem"), Some(303));
        assert_eq!(of_sockstat(text, "other"), None);
    }

    #[test]
    fn this_kernel_has_them() {
        let facts = read();
        assert!(facts.port_budget().unwrap() > 0, "{facts:?}");
        assert!(facts.tw_buckets.is_some() && facts.timestamps.is_some(), "{facts:?}");
        assert!(facts.orphans.is_some() && facts.memory_limit.is_some(), "{facts:?}");
        assert_eq!(read_under(Path::new("/nonexistent")), NetnsFacts::default());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let _ = (reserved(&text, Some((1, 65_535))), pair(&text), of_sockstat(&text, "mem"));
        }
    }
}
