//! Programs that are ended whatever happens.

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::tool::words;

/// How often a running program is looked after.
const GLANCE: Duration = Duration::from_millis(10);

/// A running program; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    words: String,
}

impl Running {
    /// Starts it. It dies with this process, too.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let words = words(&command);
        // SAFETY: between fork and exec this makes one system call and touches no memory.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let child = command.spawn().with_context(|| format!("cannot start {words}"))?;
        Ok(Self { child, words })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program itself, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.words))
    }

    /// Waits for its end, but not for ever.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} has not ended within {} s", self.words, limit.as_secs());
            }
            thread::sleep(GLANCE);
        }
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        if self.ended()?.is_none()
            && let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw)
        {
            // Not waited for yet, so the number is still its own.
            kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.words))?;
        }
        self.wait(limit).context("it was asked to end, and is now killed")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only where it has ended already, and then nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer, but not for ever.
pub(crate) fn poll<T>(
    limit: Duration,
    pause: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = ask()?;
        if answer.is_some() || Instant::now() >= deadline {
            return Ok(answer);
        }
        thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Running {
        let mut command = Command::new("sleep");
        command.arg("60");
        Running::start(command).unwrap()
    }

    #[test]
    fn a_dropped_program_is_gone() {
        let running = sleeper();
        let directory = format!("/proc/{}", running.pid());
        assert!(std::fs::exists(&directory).unwrap());
        drop(running);
        assert!(!std::fs::exists(&directory).unwrap());
    }

    #[test]
    fn waiting_has_an_end() {
        let mut running = sleeper();
        let error = running.wait(Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("`sleep 60`"), "{error}");
    }

    #[test]
    fn a_stopped_program_tells_its_signal() {
        use std::os::unix::process::ExitStatusExt as _;
        let status = sleeper().stop(Signal::TERM, Duration::from_secs(10)).unwrap();
        assert_eq!(status.signal(), Some(15));
    }
}
