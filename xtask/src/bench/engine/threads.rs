//! What each thread of a process has taken, in nanoseconds: in ticks of 10 ms a daemon at rest takes
//! nothing, or twice what it does.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

/// Processor time by thread, with the thread's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Threads(BTreeMap<u32, (String, Duration)>);

/// What the threads of process `pid` have taken that are there.
pub(super) fn taken(pid: u32) -> Result<Threads> {
    taken_under(Path::new(&format!("/proc/{pid}/task")))
}

fn taken_under(tasks: &Path) -> Result<Threads> {
    let entries =
        fs::read_dir(tasks).with_context(|| format!("cannot read {}", tasks.display()))?;
    let mut threads = BTreeMap::new();
    for entry in entries.filter_map(Result::ok) {
        let read = |name| fs::read_to_string(entry.path().join(name));
        // It may end at any moment.
        let (Ok(name), Ok(figures)) = (read("comm"), read("schedstat")) else { continue };
        let number = entry.file_name().to_str().and_then(|number| number.parse().ok());
        let taken = figures.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok());
        let (number, taken) = number.zip(taken).context("the kernel tells no processor time")?;
        threads.insert(number, (name.trim().to_owned(), Duration::from_nanos(taken)));
    }
    Ok(Threads(threads))
}

impl Threads {
    /// What they have taken since then.
    pub(super) fn since(self, before: &Self) -> Self {
        let since = |(number, (name, now)): (u32, (String, Duration))| {
            let then = before.0.get(&number).map_or(Duration::ZERO, |(_, then)| *then);
            (number, (name, now.saturating_sub(then)))
        };
        Self(self.0.into_iter().map(since).collect())
    }

    /// All of them.
    pub(super) fn all(&self) -> Duration {
        self.0.values().map(|(_, taken)| *taken).sum()
    }

    /// Those with this name.
    pub(super) fn of(&self, name: &str) -> Duration {
        let those = self.0.values().filter(|(known, _)| known == name);
        those.map(|(_, taken)| *taken).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(tasks: &Path, number: &str, name: &str, schedstat: &str) {
        fs::create_dir_all(tasks.join(number)).unwrap();
        fs::write(tasks.join(number).join("comm"), format!("{name}\n")).unwrap();
        fs::write(tasks.join(number).join("schedstat"), schedstat).unwrap();
    }

    #[test]
    fn threads_are_told_apart_and_those_that_came_later_count() {
        let tasks = tempfile::tempdir().unwrap();
        task(tasks.path(), "7", "tracer", "1000 5 6\n");
        task(tasks.path(), "8", "reconciler", "2000 5 6\n");
        let before = taken_under(tasks.path()).unwrap();
        task(tasks.path(), "7", "tracer", "1500 5 6\n");
        task(tasks.path(), "8", "reconciler", "2300 5 6\n");
        task(tasks.path(), "9", "reconciler", "40 5 6\n");
        fs::create_dir(tasks.path().join("10")).unwrap();
        let since = taken_under(tasks.path()).unwrap().since(&before);
        assert_eq!(since.all(), Duration::from_nanos(840));
        assert_eq!(since.of("reconciler"), Duration::from_nanos(340));
        assert_eq!(since.of("nobody"), Duration::ZERO);
    }

    #[test]
    fn this_process_takes_something() {
        assert!(taken(std::process::id()).unwrap().all() > Duration::ZERO);
        assert!(taken(u32::MAX).is_err());
    }
}
