//! A packet capture in place of the kernel.

use std::{io::Read, sync::Arc};

use super::Player;
use crate::{
    core::{
        capture::{CaptureError, Reader, Rebuilder},
        clock::{Ts, WallOffset},
        event::Event,
        recording::Untold,
    },
    engine::{
        Inbox,
        live::Config,
        tracer::{Identity, KernelFigures, Tracer},
    },
    kernel::plan::Degradation,
};

/// Plays a capture to its end, or to its first damaged byte.
pub(super) fn play(
    mut reader: Reader<impl Read>,
    inbox: &Inbox,
    config: &Config,
    mut pause: impl FnMut(),
) -> (Player, Option<CaptureError>) {
    let channels = (inbox.events.clone(), Arc::clone(&inbox.lagged));
    // A capture's stamps are the wall clock's own.
    let wall = WallOffset { epoch_ns: 0 };
    let mut tracer = Tracer::new(identity(config), config.limits, channels, Ts(0), wall);
    let mut rebuilder = Rebuilder::default();
    let mut events = Vec::new();
    let mut take = |tracer: &mut Tracer, events: &mut Vec<Event>| {
        for event in events.drain(..) {
            tracer.take_event(&event);
            pause();
        }
    };
    let damage = loop {
        match reader.next_packet() {
            Ok(Some(packet)) => rebuilder.packet(&packet, &mut events),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
        take(&mut tracer, &mut events);
    };
    rebuilder.finish(&mut events);
    take(&mut tracer, &mut events);
    let (first, last) = rebuilder.span().unwrap_or_default();
    tracer.ended_at(last);
    let reasons = rebuilder.passed_over().reasons();
    tracer.passed_over(reasons.into_iter().filter(|(_, count)| *count > 0).collect());
    let foreign = rebuilder.foreign_link().map(|number| CaptureError::Link { number });
    let player = Player {
        tracer,
        kernel: KernelFigures::default(),
        first: Some(first),
        last,
        stacks: Untold::default(),
    };
    (player, damage.or(foreign))
}

fn identity(config: &Config) -> Identity {
    let lacks = [
        ("processes", "segments do not say whose they are", "no owners, calls or unread bytes"),
        (
            "TIME_WAIT",
            "nothing on the wire shows it",
            "inferred: 60 s, or until the ends are used again",
        ),
    ];
    let lacks = lacks.map(|(feature, reason, effect)| Degradation {
        feature: feature.to_owned(),
        reason: reason.to_owned(),
        effect: effect.to_owned(),
    });
    Identity {
        source: "capture",
        backend: "captured segments".to_owned(),
        degradations: lacks.into(),
        process_limit: config.process_limit,
        thresholds: config.thresholds,
        ..Identity::default()
    }
}
