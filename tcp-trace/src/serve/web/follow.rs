//! The file, followed while it changes.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use super::{Web, document::Document, error::WebError};
use crate::serve::tally::Tally;

/// How often files are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What tells a changed file from one that is as it was: device, inode, length, and the times of its
/// content and of anything about it.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// The file, and what it has last said.
#[derive(Debug)]
pub(crate) struct WebFile {
    path: PathBuf,
    stamps: Vec<(PathBuf, Stamp)>,
    web: Arc<Web>,
    /// When that was.
    pub(in crate::serve) read_at: SystemTime,
}

impl WebFile {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn open(path: &Path) -> Result<Self, WebError> {
        // Before it is read: what changes meanwhile is read again.
        let stamps = stamps(path);
        let web = Arc::new(Web::read(path)?);
        Ok(Self { path: path.to_owned(), stamps, web, read_at: SystemTime::now() })
    }

    /// What it says.
    pub(crate) fn web(&self) -> Arc<Web> {
        Arc::clone(&self.web)
    }

    /// Whether it, or a file that it names, has changed since the last look.
    fn has_changed(&mut self) -> bool {
        let changed = self.stamps.iter().any(|(file, before)| stamp(file) != *before);
        if changed {
            self.stamps = stamps(&self.path);
        }
        changed
    }
}

/// Every file that matters, as it is now. A file that cannot be read names no others.
fn stamps(path: &Path) -> Vec<(PathBuf, Stamp)> {
    let mut files = vec![path.to_owned()];
    if let Ok(document) = Document::read(path) {
        files.extend(document.files().map(Path::to_owned));
    }
    let stamped = |file: PathBuf| {
        let stamp = stamp(&file);
        (file, stamp)
    };
    files.into_iter().map(stamped).collect()
}

fn stamp(file: &Path) -> Stamp {
    let of = fs::metadata(file).ok()?;
    let times = (of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
    Some((of.dev(), of.ino(), of.size(), times.0, times.1, times.2, times.3))
}

/// Tells `told` of each change, for as long as somebody listens. A file that has become wrong changes
/// nothing, and says so in the log and in `tally`.
pub(in crate::serve) async fn follow(
    mut file: WebFile,
    told: watch::Sender<Arc<Web>>,
    tally: Arc<Tally>,
) {
    loop {
        tokio::select! {
            () = sleep(TICK) => {}
            () = told.closed() => return,
        }
        let looked = spawn_blocking(move || {
            let read = file.has_changed().then(|| Web::read(&file.path));
            (file, read)
        });
        // Only a panic, which nothing there has, would end it.
        let Ok((same, read)) = looked.await else { return };
        file = same;
        match read {
            None => {}
            Some(Ok(web)) => {
                tracing::info!(file = %file.path.display(), "the web configuration was read again");
                told.send_replace(Arc::new(web));
                tally.loaded(SystemTime::now());
            }
            Some(Err(error)) => {
                tracing::error!(%error, "the last good web configuration stays in force");
                tally.not_loaded();
            }
        }
    }
}
