//! In which network namespace the packet programs work, and the way there.

use std::io;

use crate::kernel::{
    namespaces::{Namespace, Scan},
    netns::{self, Netns},
};

/// The network namespace whose interfaces are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Its inode.
    pub(crate) inode: u32,
    /// Whether it is our own.
    pub(crate) is_own: bool,
    /// How it was reached the last time. Nothing is held open: that would keep it alive, and its
    /// interfaces with it.
    way: Option<Namespace>,
}

/// Our own namespace where all are traced, else the only one that is. `own` is our own's inode.
///
/// # Errors
/// Where there is more than one, or it cannot be entered; why, in words.
pub(super) fn scope(netns: &[Netns], own: Option<u32>) -> Result<Scope, String> {
    let of = |inode| Scope { inode, is_own: Some(inode) == own, way: None };
    match netns {
        [] => own.map(of).ok_or_else(|| "our own network namespace is not known (/proc)".into()),
        [only] if Some(only.inode) == own || only.handle.is_some() => Ok(of(only.inode)),
        [_] => Err("the network namespace is known by number alone and cannot be entered".into()),
        _ => {
            Err("packet programs work in one network namespace, and --netns names several; run a \
                  daemon for each"
                .into())
        }
    }
}

impl Scope {
    /// Does `work` inside, on a thread of its own where that is not our own namespace.
    ///
    /// # Errors
    /// Where nothing leads there any more, or it may not be entered.
    pub(super) fn within<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        if self.is_own {
            return Ok(work());
        }
        let known = self.way.as_ref().and_then(|way| way.open().ok());
        let handle = if let Some(handle) = known {
            handle
        } else {
            let gone = || {
                let why = "no process or mount leads to the network namespace";
                io::Error::new(io::ErrorKind::NotFound, why)
            };
            let way = Scan::now().found.remove(&self.inode).ok_or_else(gone)?;
            self.way.insert(way).open()?
        };
        netns::inside(&handle, work)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn netns(inode: u32, handle: bool) -> Netns {
        Netns { inode, handle: handle.then(|| File::open("/proc/self/ns/net").unwrap()) }
    }

    fn of(netns: &[Netns]) -> Result<(u32, bool), String> {
        scope(netns, Some(5)).map(|scope| (scope.inode, scope.is_own))
    }

    #[test]
    fn without_a_filter_it_is_our_own_and_with_one_that_alone() {
        assert_eq!(of(&[]), Ok((5, true)));
        assert_eq!(of(&[netns(5, true)]), Ok((5, true)));
        assert_eq!(of(&[netns(6, true)]), Ok((6, false)));
        assert!(of(&[netns(6, false)]).unwrap_err().contains("by number alone"));
        // Even where our own is among them: the user's others would be blank without a word.
        assert!(of(&[netns(5, true), netns(6, true)]).unwrap_err().contains("several"));
        assert!(scope(&[], None).is_err());
    }

    #[test]
    fn what_nothing_leads_to_is_not_entered() {
        let mut nowhere = Scope { inode: 1, is_own: false, way: None };
        let error = nowhere.within(|| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let mut here = Scope { inode: 1, is_own: true, way: None };
        assert_eq!(here.within(|| 7).unwrap(), 7);
    }
}
