//! `/proc/PID/mountinfo`: bind mounts that keep a network namespace. Pure and total.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// Inode and mount point of every network namespace that is mounted somewhere, such as those of
/// `ip netns` in `/run/netns` and those of container engines.
pub(super) fn namespaces(text: &[u8]) -> impl Iterator<Item = (u32, PathBuf)> + '_ {
    text.split(|byte| *byte == b'\n').filter_map(namespace)
}

/// Fields by `proc_pid_mountinfo(5)`: number, parent, device, root, mount point, options, any number
/// of optional fields, `-`, type, source, options of the superblock. Of `nsfs`, the root is what a
/// link to the namespace reads as (3.19).
fn namespace(line: &[u8]) -> Option<(u32, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    fields.find(|field| *field == b"-")?;
    if fields.next()? != b"nsfs" {
        return None;
    }
    let inode = super::inode(Path::new(std::str::from_utf8(root).ok()?))?;
    Some((inode, PathBuf::from(OsString::from_vec(unescape(point)))))
}

/// Blanks and the like stand as a backslash and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| after.split_at_checked(3)).flatten();
        let byte = escaped.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 8).ok()?, after))
        });
        let (byte, after) = byte.unwrap_or((*first, after));
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
480 25 0:4 net:[4026532281] /run/netns/blue rw shared:5 - nsfs nsfs rw
481 25 0:4 net:[4026532281] /run/docker/netns/1-a\\040b rw shared:5 master:6 - nsfs nsfs rw
482 25 0:4 mnt:[4026532200] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
483 25 0:4 net:[77] /tmp/liar rw - tmpfs nsfs rw
484 25 0:4 net:[78] /tmp/cut rw
485 25
";

    #[test]
    fn only_network_namespaces_are_told_with_their_mount_points() {
        let found: Vec<_> = namespaces(TEXT).collect();
        let expected = [
            (4_026_532_281, PathBuf::from("/run/netns/blue")),
            (4_026_532_281, PathBuf::from("/run/docker/netns/1-a b")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_only_looks_like_an_escape_stays() {
        let plain = |text: &str| String::from_utf8(unescape(text.as_bytes())).unwrap();
        assert_eq!(plain("a\\134b\\011"), "a\\b\t");
        assert_eq!(plain("\\9\\04\\\\04x"), "\\9\\04\\\\04x");
        assert_eq!(plain("end\\"), "end\\");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = namespaces(&bytes).count();
        }
    }
}
