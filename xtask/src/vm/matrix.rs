//! Guests, as many at a time as the host has room for, and what came of all of them.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};

use super::{
    boot::Machine,
    console::is_emulators,
    initramfs::{self, Run, Task},
    line::Line,
    programs::Programs,
    unpack::Kernel,
    verdict::{Ended, Verdict},
};

/// Lines that are shown of what failed tests of one run said; the log has them all.
const WORDS: usize = 40;

/// What every guest has in common.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// How guests run.
    pub(super) machine: &'a Machine,
    /// Where everything is kept.
    pub(super) cache: &'a Path,
    /// What is tested.
    pub(super) programs: &'a Programs,
    /// How.
    pub(super) runs: &'a [Run],
}

/// Tests each kernel; verdicts in the same order.
pub(super) fn run(
    setting: &Setting<'_>,
    kernels: Vec<(&'static Line, Result<Kernel>)>,
    jobs: usize,
) -> Vec<Verdict> {
    let count = kernels.len();
    let queue: Mutex<VecDeque<_>> = Mutex::new(kernels.into_iter().enumerate().collect());
    let verdicts = Mutex::new(Vec::with_capacity(count));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            scope.spawn(|| {
                while let Some((at, (line, kernel))) = next() {
                    let verdict = kernel
                        .and_then(|kernel| test(setting, &kernel))
                        .unwrap_or_else(|error| Verdict::nothing(line.name, format!("{error:#}")));
                    say(setting, &verdict);
                    let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
                    verdicts.push((at, verdict));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    verdicts.sort_by_key(|(at, _)| *at);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

fn test(setting: &Setting<'_>, kernel: &Kernel) -> Result<Verdict> {
    let line = kernel.line.name;
    println!("{line}: {} boots", kernel.release);
    let task = Task::Tests(setting.runs.to_vec());
    let archive = initramfs::build(kernel, setting.programs, &task)?;
    let path = setting.cache.join(format!("initramfs-{line}"));
    std::fs::write(&path, archive).with_context(|| format!("cannot write {}", path.display()))?;
    let mut booted = setting.machine.boot(kernel, &path)?;
    if let Some(trouble) = booted.trouble.as_deref().filter(|line| is_emulators(line)) {
        println!("{line}: {trouble}; that is the emulator's doing, so it boots once more");
        booted = setting.machine.boot(kernel, &path)?;
    }
    let backends: Vec<_> = setting.runs.iter().map(|run| run.backend.clone()).collect();
    Ok(Verdict::of(line, &backends, &booted))
}

/// One kernel's verdict, as soon as it is known, with the words of what failed.
fn say(setting: &Setting<'_>, verdict: &Verdict) {
    let Verdict { line, seconds, problems, .. } = verdict;
    let count = |wanted: fn(&Ended) -> bool| verdict.tests().filter(|t| wanted(&t.ended)).count();
    let mut text = format!(
        "{line}: {seconds:.0} s, {} passed, {} failed, {} absent\n",
        count(|ended| *ended == Ended::Pass),
        verdict.failed(),
        count(|ended| matches!(ended, Ended::Absent { .. })),
    );
    for problem in problems {
        let _ = writeln!(text, "{line}: {problem}");
    }
    for run in &verdict.runs {
        let failed: Vec<_> = run.tests.iter().filter(|test| test.ended == Ended::Fail).collect();
        for test in &failed {
            let _ = writeln!(text, "{line}, {}: {} FAILED", run.backend, test.name);
        }
        for test in run.tests.iter().filter(|test| test.again && test.ended == Ended::Pass) {
            let _ =
                writeln!(text, "{line}, {}: {} passed at its second try", run.backend, test.name);
        }
        if !run.words.is_empty() {
            let words: Vec<_> = run.words.trim().lines().take(WORDS).collect();
            let _ = writeln!(text, "{}", words.join("\n"));
        }
    }
    if !verdict.is_good() {
        let logs = setting.machine.logs.display();
        let _ = writeln!(text, "{line}: its consoles are {logs}/{line}.log and {line}.console.log");
    }
    print!("{text}");
}
