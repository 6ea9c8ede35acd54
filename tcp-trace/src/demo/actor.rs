//! A process of the scene: listens to its cues on standard input, reports on standard output, and
//! ends with whoever started it, however that one ends.

use std::{
    io::{self, BufRead as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{
    cue::{Cue, Report},
    play,
    role::Role,
};

/// What a player has been told since it began.
#[derive(Debug, Default)]
pub(super) struct Curtain {
    fallen: AtomicBool,
    hurry: AtomicBool,
}

impl Curtain {
    /// Whether it has fallen, and nothing new is to be begun.
    pub(super) fn has_fallen(&self) -> bool {
        self.fallen.load(Ordering::Relaxed)
    }

    /// Whether nothing needs to be slow any more.
    pub(super) fn is_in_hurry(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }
}

/// Plays until the cues end.
///
/// # Errors
/// Where standard input or output is none that can be talked through.
pub(crate) fn run(role: Role) -> io::Result<()> {
    // The threads of the play inherit it.
    rustix::thread::set_name(role.comm())?;
    report(&Report::Ready)?;
    let curtain = Arc::new(Curtain::default());
    for line in io::stdin().lock().lines() {
        match line?.parse().map_err(io::Error::other)? {
            Cue::Go => {
                let curtain = Arc::clone(&curtain);
                thread::Builder::new().spawn(move || on_stage(role, &curtain))?;
            }
            Cue::Hurry => curtain.hurry.store(true, Ordering::Relaxed),
            Cue::Stop => curtain.fallen.store(true, Ordering::Relaxed),
        }
    }
    Ok(())
}

fn on_stage(role: Role, curtain: &Curtain) {
    let end = match play::play(role, curtain) {
        Ok(()) => Report::Stopped,
        Err(error) => Report::Failed(error.to_string()),
    };
    // Where nobody listens any more, the cues have ended, too.
    let _ = report(&end);
}

/// Says something to whoever started this.
pub(super) fn report(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{report}")?;
    out.flush()
}
