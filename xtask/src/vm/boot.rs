//! A guest, from its start to the line that ends it.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    console::{Report, is_trouble},
    unpack::Kernel,
};
use crate::{child::Running, tool::Tool};

/// The machine.
const QEMU: Tool = Tool { name: "qemu-system-x86_64", install: "apt-get install qemu-system-x86" };
/// How often the guest's words are read.
const GLANCE: Duration = Duration::from_millis(50);
/// What the kernel is told. Mitigations cost much and change nothing that is tested; so does any
/// clock but the processor's, which kernels do not trust by themselves under qemu. Without KVM,
/// programs at ever new addresses would be translated anew at each start.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable norandmaps";

/// How to run guests.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// With the processor's help: quicker where it works.
    pub(super) kvm: bool,
    /// Longest that a guest may take.
    pub(super) limit: Duration,
    /// Where consoles are kept.
    pub(super) logs: PathBuf,
}

/// How a guest came to its end.
#[derive(Debug)]
pub(super) struct Booted {
    /// What it reported.
    pub(super) report: Report,
    /// Why it ended otherwise than by its own last word.
    pub(super) trouble: Option<String>,
    /// How long it took.
    pub(super) took: Duration,
}

impl Machine {
    /// Whether there is one.
    pub(super) fn check(&self) -> Result<()> {
        QEMU.required()?;
        fs::create_dir_all(&self.logs)
            .with_context(|| format!("cannot create {}", self.logs.display()))
    }

    fn command(&self, kernel: &Kernel, initramfs: &Path) -> Result<Command> {
        let mut command = Command::new(QEMU.required()?);
        // Wide registers are slow where they are not real, and the C library uses what it finds.
        let (accelerator, processor) =
            if self.kvm { ("kvm", "host") } else { ("tcg,thread=multi", "Nehalem") };
        command
            .args(["-accel", accelerator, "-cpu", processor, "-m", "1G", "-smp", "2"])
            .args(["-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot", "-kernel"])
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", COMMAND_LINE]);
        Ok(command)
    }

    /// Boots `kernel` and reads what it says, to its end.
    pub(super) fn boot(&self, kernel: &Kernel, initramfs: &Path) -> Result<Booted> {
        let name = kernel.line.name;
        let mut console = Tail::new(self.logs.join(format!("{name}.console.log")))?;
        let mut tests = Tail::new(self.logs.join(format!("{name}.log")))?;
        let mut command = self.command(kernel, initramfs)?;
        for tail in [&console, &tests] {
            command.arg("-serial").arg(format!("file:{}", tail.path.display()));
        }
        command.stdin(Stdio::null());
        let (start, mut guest) = (Instant::now(), Running::start(command)?);
        let mut report = Report::default();
        let trouble = loop {
            // Before its words are read, so that none are missed.
            let ended = guest.ended()?;
            let took = start.elapsed();
            for line in tests.lines()? {
                report.take(&line, took);
            }
            let trouble = console.lines()?.into_iter().find(|line| is_trouble(line));
            if report.end.is_some() {
                break None;
            }
            if let Some(line) = trouble {
                break Some(format!("the kernel says: {line}"));
            }
            if let Some(status) = ended {
                break Some(format!("the guest went away without a last word ({status})"));
            }
            if took >= self.limit {
                let running = report.running().map(|test| format!(" in {test}"));
                let limit = self.limit.as_secs();
                break Some(format!("not done after {limit} s{}", running.unwrap_or_default()));
            }
            thread::sleep(GLANCE);
        };
        Ok(Booted { report, trouble, took: start.elapsed() })
    }

    /// Boots `kernel` with this terminal as its own.
    pub(super) fn shell(&self, kernel: &Kernel, initramfs: &Path) -> Result<()> {
        let mut command = self.command(kernel, initramfs)?;
        command.args(["-serial", "stdio", "-serial", "null"]);
        let status = command.status().context("cannot start qemu-system-x86_64")?;
        println!("the guest is gone ({status})");
        Ok(())
    }
}

/// A file that somebody else writes.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    file: File,
    rest: Vec<u8>,
}

impl Tail {
    /// An empty one at `path`.
    fn new(path: PathBuf) -> Result<Self> {
        let tried = || format!("cannot make {} empty", path.display());
        File::create(&path).with_context(tried)?;
        let file = File::open(&path).with_context(tried)?;
        Ok(Self { path, file, rest: Vec::new() })
    }

    /// Whole lines that have come since.
    fn lines(&mut self) -> Result<Vec<String>> {
        self.file
            .read_to_end(&mut self.rest)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_line_is_read_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut tail = Tail::new(path.clone()).unwrap();
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.lines().unwrap(), ["one"]);
        file.write_all(b"o\n").unwrap();
        assert_eq!(tail.lines().unwrap(), ["two"]);
        assert!(tail.lines().unwrap().is_empty());
    }
}
