//! A recording in place of the kernel.

use std::{fs::File, io::BufReader, path::Path};

use anyhow::Context as _;
use tcp_trace_common::{KIND_SEED, KIND_SNAPSHOT_BEGUN};

use super::{
    Engine, Inbox, Request,
    live::Config,
    tracer::{Identity, KernelFigures, Tracer},
};
use crate::{
    core::{
        clock::{Ts, WallOffset},
        decode,
        recording::{Frame, Header, Reader, RecordingError},
        sources::Sources,
    },
    kernel::{counters::Counters, plan::Degradation},
};

/// A replayed recording, standing at its last moment.
pub(crate) struct Replayed {
    /// Answers as a live tracer would.
    pub(crate) engine: Engine,
    /// Why reading ended before the end mark.
    pub(crate) damage: Option<RecordingError>,
}

/// Opens a recording; its events pass only once [`Opened::play`] is called, so that somebody can
/// listen first.
pub(crate) struct Opened {
    reader: Reader<BufReader<File>>,
    engine: super::Handle,
    inbox: Inbox,
    config: Config,
}

/// Opens the recording at `path`.
pub(crate) fn open(path: &Path, config: &Config) -> anyhow::Result<Opened> {
    let file = File::open(path)
        .with_context(|| format!("opening the recording {} failed", path.display()))?;
    let reader = Reader::new(BufReader::new(file))
        .with_context(|| format!("{} cannot be replayed", path.display()))?;
    let (engine, inbox) = Engine::channel()?;
    Ok(Opened { reader, engine, inbox, config: config.clone() })
}

impl Opened {
    /// Events that will pass.
    pub(crate) fn events(
        &self,
    ) -> tokio::sync::broadcast::Receiver<std::sync::Arc<crate::api::Event>> {
        self.engine.events()
    }

    /// A look at how many events wait for the slowest listener.
    pub(crate) fn backlog(&self) -> impl Fn() -> usize + Send + 'static {
        let events = self.inbox.events.clone();
        // A weak sender: counting must not keep the stream open.
        let events = events.downgrade();
        move || events.upgrade().map_or(0, |events| events.len())
    }

    /// Plays it to its end, or to its first damaged byte, calling `pause` now and then so that a
    /// listener can keep up.
    pub(crate) fn play(self, mut pause: impl FnMut()) -> Replayed {
        let Self { mut reader, engine, inbox, config } = self;
        let header = reader.header().clone();
        let channels = (inbox.events.clone(), std::sync::Arc::clone(&inbox.lagged));
        let wall = WallOffset { epoch_ns: header.wall_offset_ns };
        let mut tracer =
            Tracer::new(identity(&header, &config), config.limits, channels, Ts(0), wall);
        tracer.set_sources(Sources::from_programs(&header.hooks));
        let mut player =
            Player { tracer, kernel: KernelFigures::default(), first: None, last: Ts(0) };
        let damage = loop {
            match reader.next_frame() {
                Ok(Some(frame)) => player.frame(frame),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
            pause();
        };
        player.tracer.flush();
        pause();
        player.tracer.begun_at(player.first.unwrap_or_default());
        let thread = std::thread::spawn(move || player.answer(&inbox));
        Replayed { engine: Engine { handle: engine, thread: Some(thread) }, damage }
    }
}

/// Whether such a record was made when what it tells happened.
fn is_live(kind: u16) -> bool {
    kind != KIND_SEED && kind < KIND_SNAPSHOT_BEGUN
}

fn identity(header: &Header, config: &Config) -> Identity {
    let degradations = header.degradations.iter().map(|line| Degradation {
        feature: "recorded".to_owned(),
        reason: line.clone(),
        effect: "as on the host that was recorded".to_owned(),
    });
    Identity {
        kernel: header.kernel.clone(),
        source: "recording",
        backend: header.backend.clone(),
        hooks: Vec::new(),
        degradations: degradations.collect(),
        netns: header.netns.clone(),
        process_limit: config.process_limit,
        thresholds: config.thresholds,
    }
}

struct Player {
    tracer: Tracer,
    kernel: KernelFigures,
    first: Option<Ts>,
    last: Ts,
}

impl Player {
    fn frame(&mut self, frame: Frame) {
        match frame {
            Frame::Record { cpu, bytes } => match decode::record(&bytes) {
                Ok(record) => {
                    let at = Ts(record.time_ns());
                    // Time goes on with the recorded host's clock, and with nothing else.
                    if is_live(record.kind()) {
                        self.first = Some(self.first.map_or(at, |first| first.min(at)));
                        self.last = self.last.max(at);
                    }
                    self.tracer.take_record(u32::from(cpu), record);
                    self.tracer.release(self.last);
                }
                Err(error) => self.tracer.malformed(&error),
            },
            Frame::Lost { at, count } => self.tracer.take_recorded_loss(Ts(at), count),
            Frame::Counters { at, counters } => {
                self.last = self.last.max(Ts(at));
                self.kernel.counters = Counters(counters);
            }
            Frame::End { at, .. } => self.last = self.last.max(Ts(at)),
        }
    }

    /// Answers as of the recording's last moment until told to end.
    fn answer(self, inbox: &Inbox) {
        while let Ok(request) = inbox.requests.recv() {
            if matches!(request, Request::Stop) {
                break;
            }
            self.tracer.answer(request, self.last, &self.kernel);
        }
    }
}
