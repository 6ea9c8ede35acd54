//! What passes over all descriptors have told, so that the next one can be spared.
//!
//! A socket that is held as it was takes one link to read, not every link of the host. One that no
//! process holds (the kernel's own, one that only `io_uring` has) is not looked for each time anew.

use std::{collections::HashMap, fs, mem, path::Path};

use super::{Holder, Seen, read_comm, socket_inode};

/// Sockets that are remembered; with more, reading each link costs as much as a pass.
const LIMIT: usize = 1 << 16;

/// Rounds that a socket is not looked for at most, once it was in vain: 16 of 30 seconds.
const LONGEST: u8 = 15;

/// What is remembered from one round to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Holders by the inode of their socket, as of this round or the one before.
    held: HashMap<u32, Holder>,
    before: HashMap<u32, Holder>,
    /// Sockets without a holder.
    vain: HashMap<u32, Vain>,
    vain_before: HashMap<u32, Vain>,
}

/// A search that was in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Vain {
    /// Rounds that the next search waits for.
    wait: u8,
    /// How many it has to wait for after this one.
    next: u8,
}

impl Memory {
    /// Begins a round: what the last one did not want is forgotten.
    pub(crate) fn age(&mut self) {
        self.before = mem::take(&mut self.held);
        self.vain_before = mem::take(&mut self.vain);
        for vain in self.vain_before.values_mut() {
            vain.wait = vain.wait.saturating_sub(1);
        }
    }

    /// The holders of these sockets, as far as they have one; `None` where only a pass can tell.
    pub(crate) fn recall(&mut self, inodes: &[u32]) -> Option<&HashMap<u32, Holder>> {
        self.recall_under(Path::new("/proc"), inodes)
    }

    fn recall_under(&mut self, procfs: &Path, inodes: &[u32]) -> Option<&HashMap<u32, Holder>> {
        // A pass that is needed for one is free for all.
        let is_known = |inode: &u32| {
            self.held.contains_key(inode)
                || self.vain.contains_key(inode)
                || self.before.contains_key(inode)
                || self.vain_before.get(inode).is_some_and(|vain| vain.wait > 0)
        };
        if !inodes.iter().all(is_known) {
            return None;
        }
        let mut names = HashMap::new();
        for inode in inodes {
            if self.held.contains_key(inode) || self.vain.contains_key(inode) {
                continue;
            }
            let Some(holder) = self.before.get(inode) else {
                let vain = self.vain_before.get(inode).copied().unwrap_or_default();
                self.vain.insert(*inode, vain);
                continue;
            };
            let directory = procfs.join(holder.pid.to_string());
            let link = fs::read_link(directory.join("fd").join(holder.fd.to_string())).ok()?;
            if socket_inode(link.as_os_str().as_encoded_bytes()) != Some(*inode) {
                return None;
            }
            // It may have taken another name.
            let comm = *names.entry(holder.pid).or_insert_with(|| read_comm(&directory));
            self.held.insert(*inode, Holder { comm: comm?, ..*holder });
        }
        Some(&self.held)
    }

    /// Takes what a pass has told of these sockets.
    pub(crate) fn learn(&mut self, inodes: &[u32], seen: &Seen) {
        for inode in inodes {
            if self.held.len() + self.vain.len() >= LIMIT {
                return;
            }
            if let Some(holder) = seen.holders.get(inode) {
                self.vain.remove(inode);
                self.held.insert(*inode, *holder);
            } else {
                // It may have been on its way from one process to another: once more at once. Where
                // a pass was cut, the next one will hardly get further.
                let before = self.vain_before.get(inode);
                let wait = before.map_or(0, |before| before.next);
                self.held.remove(inode);
                self.vain
                    .insert(*inode, Vain { wait: wait + 1, next: (2 * wait + 1).min(LONGEST) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use tempfile::TempDir;

    use super::{super::look_under, *};
    use crate::kernel::holders::{PATIENCE, Wanted};

    /// A procfs with one process, whose descriptor 3 is this socket.
    fn procfs(inode: u32) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("7/fd")).unwrap();
        fs::write(root.path().join("7/comm"), "x\n").unwrap();
        hold(&root, inode);
        root
    }

    fn hold(root: &TempDir, inode: u32) {
        let link = root.path().join("7/fd/3");
        let _ = fs::remove_file(&link);
        symlink(format!("socket:[{inode}]"), link).unwrap();
    }

    /// A round; whether it took a pass.
    fn round(memory: &mut Memory, root: &TempDir, inodes: &[u32]) -> bool {
        memory.age();
        let takes = memory.recall_under(root.path(), inodes).is_none();
        if takes {
            let until = std::time::Instant::now() + PATIENCE;
            memory.learn(inodes, &look_under(root.path(), Wanted::Sockets, until));
        }
        takes
    }

    #[test]
    fn what_is_held_as_it_was_takes_no_pass() {
        let (root, mut memory) = (procfs(5), Memory::default());
        assert!(round(&mut memory, &root, &[5]));
        fs::write(root.path().join("7/comm"), "y\n").unwrap();
        assert!(!round(&mut memory, &root, &[5]) && !round(&mut memory, &root, &[5]));
        assert_eq!(memory.held[&5].comm[..2], *b"y\0");
        // It has gone elsewhere, or its process has ended.
        hold(&root, 6);
        assert!(round(&mut memory, &root, &[5]));
        assert!(round(&mut memory, &root, &[6]) && !round(&mut memory, &root, &[6]));
        fs::remove_dir_all(root.path().join("7")).unwrap();
        assert!(round(&mut memory, &root, &[6]));
    }

    #[test]
    fn one_that_is_new_takes_a_pass_and_what_nobody_wants_is_forgotten() {
        let (root, mut memory) = (procfs(5), Memory::default());
        assert!(round(&mut memory, &root, &[5]) && round(&mut memory, &root, &[5, 6]));
        assert!(!round(&mut memory, &root, &[]) && !round(&mut memory, &root, &[]));
        assert!(memory.before.is_empty() && memory.vain_before.is_empty());
        assert!(round(&mut memory, &root, &[5]));
    }

    #[test]
    fn one_that_nobody_holds_is_looked_for_ever_less_often() {
        let (root, mut memory) = (procfs(5), Memory::default());
        let passes: Vec<_> = (0..60).filter(|_| round(&mut memory, &root, &[8])).collect();
        assert_eq!(passes, [0, 1, 3, 7, 15, 31, 47]);
        // Whoever takes it then is found.
        hold(&root, 8);
        assert_eq!((60..80).find(|_| round(&mut memory, &root, &[8])), Some(63));
        assert!(!round(&mut memory, &root, &[8]) && memory.held.contains_key(&8));
    }

    #[test]
    fn a_pass_that_was_cut_is_not_tried_each_time_anew_and_the_limit_holds() {
        let mut memory = Memory::default();
        memory.learn(&[5], &Seen { cut: true, ..Seen::default() });
        assert_eq!(memory.vain[&5], Vain { wait: 1, next: 1 });
        let mut memory = Memory::default();
        let all: Vec<_> = (0..u32::try_from(LIMIT).unwrap() + 9).collect();
        memory.learn(&all, &Seen::default());
        assert_eq!(memory.vain.len(), LIMIT);
    }
}
