//! From a cgroup's id, as `bpf_get_current_cgroup_id()` gives it, to its path.
//!
//! The id is the number of the directory's inode in cgroup2fs, and what its file handle is made of:
//! with `CAP_DAC_READ_SEARCH` one call opens the directory, as systemd does it. Where that is
//! refused, the tree is walked. An id is never given twice, so what was once found stays true.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rustc_hash::FxHashMap;

use self::walk::Walked;
use super::sys;
use crate::core::cgroup::{Place, place};

mod walk;

/// Cgroups remembered; when there are more, remembering begins anew.
const REMEMBERED: usize = 16_384;

/// A cgroup's path from the hierarchy's root, and what it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Such as `/system.slice/nginx.service`.
    pub(crate) path: String,
    /// Whose it is.
    pub(crate) place: Place,
}

impl Cgroup {
    pub(crate) fn new(path: String) -> Self {
        Self { place: place(&path), path }
    }
}

/// The hierarchy, where this host has one mounted.
#[derive(Debug)]
pub(crate) struct Cgroups {
    tree: Option<Tree>,
    /// By id; `None` for one that is no more.
    known: FxHashMap<u64, Option<Arc<Cgroup>>>,
}

#[derive(Debug)]
struct Tree {
    at: PathBuf,
    handle: File,
    /// Used once a handle was refused.
    walked: Option<Walked>,
}

/// What became of looking for an id.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    At(String),
    /// There is none of this id any more, and never will be.
    Gone,
    /// It was not found now.
    NotNow,
}

impl Cgroups {
    /// The one that this host has mounted. Without one, no id is ever known.
    pub(crate) fn of_host() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::at(mount_point(&mounts))
    }

    /// The one mounted there.
    pub(crate) fn at(mounted: Option<PathBuf>) -> Self {
        let open = |at: PathBuf| Some(Tree { handle: File::open(&at).ok()?, at, walked: None });
        Self { tree: mounted.and_then(open), known: FxHashMap::default() }
    }

    /// A tree of plain directories, whose file handles mean nothing.
    #[cfg(test)]
    pub(crate) fn walking(at: &Path) -> Self {
        let mut cgroups = Self::at(Some(at.to_owned()));
        if let Some(tree) = &mut cgroups.tree {
            tree.walked = Some(Walked::default());
        }
        cgroups
    }

    /// The cgroup with this id; `None` for 0, where it is no more, and where it cannot be found.
    pub(crate) fn find(&mut self, id: u64, now: Instant) -> Option<Arc<Cgroup>> {
        if id == 0 {
            return None;
        }
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let found = match self.tree.as_mut()?.find(id, now) {
            Found::At(path) => Some(Arc::new(Cgroup::new(path))),
            Found::Gone => None,
            Found::NotNow => return None,
        };
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(id, found.clone());
        found
    }
}

impl Tree {
    fn find(&mut self, id: u64, now: Instant) -> Found {
        if let Some(walked) = &mut self.walked {
            return walked.find(&self.at, id, now).map_or(Found::NotNow, Found::At);
        }
        match by_handle(&self.at, &self.handle, id) {
            Ok(path) => path.map_or(Found::NotNow, Found::At),
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => Found::Gone,
            Err(_) => {
                let walked = self.walked.insert(Walked::default());
                walked.find(&self.at, id, now).map_or(Found::NotNow, Found::At)
            }
        }
    }
}

/// The path of the directory that the handle opens; `None` where it lies outside of what is mounted.
fn by_handle(at: &Path, mount: &File, id: u64) -> io::Result<Option<String>> {
    let directory = sys::open_kernfs(mount.as_fd(), id)?;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    Ok(below(at, &path))
}

/// `path` as seen from the hierarchy's root.
fn below(at: &Path, path: &Path) -> Option<String> {
    let inside = path.strip_prefix(at).ok()?.to_string_lossy();
    Some(format!("/{}", inside.strip_suffix(" (deleted)").unwrap_or(&inside)))
}

/// Where cgroup2fs is mounted, of the lines of `mountinfo`: whole rather than a part of it.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    let of_cgroups = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        (file_system.split(' ').next() == Some("cgroup2")).then_some((root != "/", at))
    });
    // The first of the best; a path with a space in it is written with `\040`.
    let (_, at) = of_cgroups.min_by_key(|(partial, _)| *partial)?;
    Some(PathBuf::from(at.replace("\\040", " ")))
}

#[cfg(test)]
mod tests;
