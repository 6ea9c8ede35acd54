//! Somebody else's program, running in a namespace of the test's.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::{super::netns::Netns, unit::Unit};

/// In which it must end once it is told to.
const END: Duration = Duration::from_secs(5);

/// The program. Dropping it ends it, and so does the end of the thread that started it.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
}

impl Program {
    /// Starts `command`, which Debian's `package` has.
    pub(super) fn start(
        netns: &Netns,
        unit: Option<&Unit>,
        command: Command,
        package: &str,
    ) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut command = netns.take_in(command);
        if let Some(unit) = unit {
            unit.take_in(&mut command);
        }
        // SAFETY: between fork and exec one system call is made, and nothing is allocated.
        unsafe {
            command.pre_exec(|| {
                set_parent_process_death_signal(Some(Signal::TERM)).map_err(io::Error::from)
            });
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Self { child: child.unwrap_or_else(|why| panic!("{name} (package {package}): {why}")) }
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port that it says it listens on, its first line.
    pub(super) fn port(&mut self) -> u16 {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("{line:?} is no port; see its errors above"))
    }

    /// Its children, as `/proc` tells.
    pub(super) fn children(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        processes.filter(|pid| parent(*pid) == Some(self.pid())).collect()
    }
}

/// A process's parent: the second field behind its name, which stands in parentheses.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

impl Drop for Program {
    fn drop(&mut self) {
        // One with children is asked to end, so that they do.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < END {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of the programs of these tests.
pub(super) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/leakers").join(name)
}
