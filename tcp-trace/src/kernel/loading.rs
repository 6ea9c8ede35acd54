//! Programs handed to the verifier, several at a time: it takes most of the start, walks each program by
//! itself, and the kernel lets any number of it run at once.

use std::{num::NonZeroUsize, sync::Mutex, thread};

use aya::{Ebpf, programs::Program};

use super::{attach, load::KernelTypes};

/// Programs at a time, however many CPUs there are: a start is to be short, and not to be felt.
const MOST: usize = 4;

/// Ways to do one thing, best first: a program each, and what it hooks. The first that the verifier
/// takes is loaded, and no other.
pub(super) type Ways<'a> = Vec<(&'a str, &'a str)>;

/// Loads one way of each group; what came of each, in their order. No program is in two groups.
pub(super) fn load_each(
    ebpf: &mut Ebpf,
    groups: &[Ways<'_>],
    types: &KernelTypes,
) -> Vec<Result<(), String>> {
    let mut programs: Vec<_> = ebpf.programs_mut().collect();
    let mut take = |wanted: &str| {
        let place = programs.iter().position(|(name, _)| *name == wanted)?;
        Some(programs.swap_remove(place).1)
    };
    let jobs = groups.iter().enumerate().map(|(number, ways)| {
        let found = ways.iter().map(|(program, target)| (*program, *target, take(program)));
        (number, found.collect::<Vec<_>>())
    });
    let mut jobs: Vec<_> = jobs.collect();
    // The last is taken first.
    jobs.reverse();
    let (jobs, done) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let work = || {
        // Nobody panics while holding either; who did would leave them whole all the same.
        let next = || jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        while let Some((number, ways)) = next() {
            let outcome = load_first(ways, types);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, outcome));
        }
    };
    let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 1..cpus.min(MOST).min(groups.len()) {
            // Without a thread more, this one does it all.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The error is that of the last.
fn load_first(
    ways: Vec<(&str, &str, Option<&mut Program>)>,
    types: &KernelTypes,
) -> Result<(), String> {
    let mut outcome = Err("there is no way to do it".to_owned());
    for (name, target, program) in ways {
        let program = program.ok_or_else(|| format!("the object has no program {name}"));
        outcome = program.and_then(|program| attach::load(program, target, types));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}
