//! The kernel programs that a process holds, by number: those of others on this host do not count.

use std::{collections::BTreeSet, fs, io};

use super::deadline::until;

/// `BPF_PROG_GET_FD_BY_ID` of `bpf()`.
const GET_PROGRAM: i64 = 13;
/// `BPF_LINK_GET_FD_BY_ID` of `bpf()`.
const GET_LINK: i64 = 30;

/// Programs and links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    programs: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

/// What the process holds.
pub(crate) fn held_by(pid: u32) -> Held {
    let mut held = Held::default();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        // A descriptor may be gone again.
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            match (key, value.trim().parse()) {
                ("prog_id", Ok(id)) => held.programs.insert(id),
                ("link_id", Ok(id)) => held.links.insert(id),
                _ => continue,
            };
        }
    }
    held
}

impl Held {
    /// Fails unless something is attached.
    #[track_caller]
    pub(crate) fn judge_attached(&self) {
        assert!(!self.programs.is_empty() && !self.links.is_empty(), "{self:?}");
        assert!(self.programs.iter().all(|id| exists(GET_PROGRAM, *id)), "{self:?}");
        assert!(self.links.iter().all(|id| exists(GET_LINK, *id)), "{self:?}");
    }

    /// Waits until the kernel has none of it any more. It frees them a moment after the last
    /// descriptor is closed.
    pub(crate) fn until_gone(&self) {
        until(
            || format!("the kernel still has some of {self:?}"),
            || {
                let left = self.programs.iter().any(|id| exists(GET_PROGRAM, *id))
                    || self.links.iter().any(|id| exists(GET_LINK, *id));
                (!left).then_some(())
            },
        );
    }
}

fn exists(command: i64, id: u32) -> bool {
    // The head of `union bpf_attr`: the number asked for; the rest is zero.
    let attributes = [id, 0, 0, 0];
    // SAFETY: the attributes are readable and as long as stated; the answer is a new descriptor,
    // closed at once.
    unsafe {
        let answer =
            libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes));
        if answer >= 0 {
            libc::close(i32::try_from(answer).unwrap());
            return true;
        }
    }
    let error = io::Error::last_os_error();
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "asking for {id}: {error}");
    false
}
