//! The way to a cgroup's path where no file handle may be opened: the whole tree, by inode number.

use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

/// Directories looked at in one walk.
const LIMIT: usize = 16_384;
/// Between two walks.
const PAUSE: Duration = Duration::from_secs(2);

/// What the last walk saw.
#[derive(Debug, Default)]
pub(super) struct Walked {
    paths: FxHashMap<u64, String>,
    last: Option<Instant>,
}

impl Walked {
    /// The path of the directory with inode `id` below `root`. Walks where that is not known, but not
    /// again at once.
    pub(super) fn find(&mut self, root: &Path, id: u64, now: Instant) -> Option<String> {
        if !self.paths.contains_key(&id) && self.may_walk(now) {
            self.paths = walk(root);
            self.last = Some(now);
        }
        self.paths.get(&id).cloned()
    }

    fn may_walk(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE)
    }
}

/// Breadth first: where there are too many, those deep down are missing.
fn walk(root: &Path) -> FxHashMap<u64, String> {
    let mut paths = FxHashMap::default();
    let mut ahead = VecDeque::from([String::new()]);
    while let Some(path) = ahead.pop_front() {
        let directory = root.join(path.trim_start_matches('/'));
        let Ok(inode) = fs::metadata(&directory).map(|metadata| metadata.ino()) else { continue };
        paths.insert(inode, if path.is_empty() { "/".to_owned() } else { path.clone() });
        for entry in fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok) {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && paths.len() + ahead.len() < LIMIT {
                ahead.push_back(format!("{path}/{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    paths
}
