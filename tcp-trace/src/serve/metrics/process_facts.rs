//! What `/proc` tells about this process.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Figures of this process; each is `None` where `/proc` does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ProcessFacts {
    /// User and kernel time.
    pub(crate) cpu_seconds: Option<f64>,
    /// Memory occupied.
    pub(crate) resident_bytes: Option<f64>,
    /// Address space.
    pub(crate) virtual_bytes: Option<f64>,
    /// Descriptors held, the one that counts them included.
    pub(crate) open_fds: Option<f64>,
    /// Descriptors allowed.
    pub(crate) max_fds: Option<f64>,
    /// Start in seconds since the Unix epoch.
    pub(crate) start_time_seconds: Option<f64>,
}

/// Reads [`ProcessFacts`].
#[derive(Debug)]
pub(crate) struct ProcessReader {
    /// `/proc/self`.
    own: PathBuf,
    /// The host's start in seconds since the epoch. Read once: on a host with many CPUs,
    /// `/proc/stat` is long and slow to make.
    boot_time: Option<f64>,
    ticks_per_second: f64,
    page_bytes: f64,
}

impl ProcessReader {
    /// Reads below `proc`, which is `/proc` but in tests.
    #[expect(clippy::cast_precision_loss, reason = "small numbers: 100 ticks, 4096 bytes")]
    pub(crate) fn new(proc: &Path) -> Self {
        let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
        Self {
            own: proc.join("self"),
            boot_time: boot_time(&stat),
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
            page_bytes: rustix::param::page_size() as f64,
        }
    }

    /// The figures now.
    pub(crate) fn read(&self) -> ProcessFacts {
        let stat = fs::read_to_string(self.own.join("stat")).unwrap_or_default();
        let stat = Stat::parse(&stat);
        let limits = fs::read_to_string(self.own.join("limits")).unwrap_or_default();
        let seconds = |ticks: f64| ticks / self.ticks_per_second;
        ProcessFacts {
            cpu_seconds: stat.as_ref().map(|stat| seconds(stat.cpu_ticks)),
            resident_bytes: stat.as_ref().map(|stat| stat.resident_pages * self.page_bytes),
            virtual_bytes: stat.as_ref().map(|stat| stat.virtual_bytes),
            open_fds: fs::read_dir(self.own.join("fd")).ok().map(count),
            max_fds: max_fds(&limits),
            start_time_seconds: stat
                .zip(self.boot_time)
                .map(|(stat, boot)| boot + seconds(stat.start_ticks)),
        }
    }
}

/// The fields wanted of `/proc/PID/stat`.
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the process's name in parentheses, and may hold any of these, too.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        // Numbered from 1 as in proc_pid_stat(5), where the first one here is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "no process holds 2^53 descriptors")]
fn count(directory: fs::ReadDir) -> f64 {
    directory.count() as f64
}

/// `btime` of `/proc/stat`.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit of `/proc/PID/limits`.
fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "812 (a) b) S) S 1 812 812 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 \
                        4200 1048576 256 18446744073709551615 1 1 0 0 0 0 0 0 0";

    #[test]
    fn a_directory_like_proc_is_read() {
        let proc = tempfile::tempdir().unwrap();
        let own = proc.path().join("self");
        fs::create_dir_all(own.join("fd")).unwrap();
        for fd in ["0", "1", "2"] {
            fs::write(own.join("fd").join(fd), "").unwrap();
        }
        fs::write(own.join("stat"), STAT).unwrap();
        let limits = "Limit Soft Hard Units\nMax open files            1024   524288   files\n";
        fs::write(own.join("limits"), limits).unwrap();
        fs::write(proc.path().join("stat"), "cpu 1 2\nbtime 1700000000\n").unwrap();

        let mut reader = ProcessReader::new(proc.path());
        (reader.ticks_per_second, reader.page_bytes) = (100.0, 4096.0);
        let expected = ProcessFacts {
            cpu_seconds: Some(2.0),
            resident_bytes: Some(1_048_576.0),
            virtual_bytes: Some(1_048_576.0),
            open_fds: Some(3.0),
            max_fds: Some(1024.0),
            start_time_seconds: Some(1_700_000_042.0),
        };
        assert_eq!(reader.read(), expected);
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let reader = ProcessReader::new(Path::new("/nonexistent"));
        assert_eq!(reader.read(), ProcessFacts::default());
        assert!(Stat::parse("812 (x) S 1 2").is_none());
        assert_eq!(max_fds("Max open files unlimited unlimited files"), None);
    }

    #[test]
    fn this_very_process_has_figures() {
        let facts = ProcessReader::new(Path::new("/proc")).read();
        assert!(facts.resident_bytes.unwrap() > 0.0, "{facts:?}");
        assert!(facts.open_fds.unwrap() >= 3.0, "{facts:?}");
        assert!(facts.start_time_seconds.unwrap() > 1.5e9, "{facts:?}");
    }
}
