//! A file in place of the kernel: a recording or a capture.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use anyhow::Context as _;
use tcp_trace_common::{KIND_SEED, KIND_SNAPSHOT_BEGUN};
use tokio::sync::oneshot;

use super::{
    Engine, Inbox, Request,
    live::Config,
    tracer::{Identity, KernelFigures, Tracer},
};
use crate::{
    core::{
        capture,
        clock::{Ts, WallOffset},
        decode,
        recording::{Frame, Header, MAGIC, Reader, Untold},
        sources::Sources,
    },
    kernel::{counters::Counters, plan::Degradation},
};

mod packets;

/// A replayed file, standing at its last moment.
pub(crate) struct Replayed {
    /// Answers as a live tracer would.
    pub(crate) engine: Engine,
    /// Why reading ended before the file's end.
    pub(crate) damage: Option<anyhow::Error>,
    /// Packets that told of no connection, by reason.
    pub(crate) passed_over: Vec<(&'static str, u64)>,
}

/// An opened file; its events pass only once [`Opened::play`] is called, so that somebody can
/// listen first.
pub(crate) struct Opened {
    content: Content,
    engine: super::Handle,
    inbox: Inbox,
    config: Config,
}

enum Content {
    Recording(Box<Reader<BufReader<File>>>),
    Capture(capture::Reader<BufReader<File>>),
}

impl Content {
    fn new(mut file: BufReader<File>) -> anyhow::Result<Self> {
        let begins = file.fill_buf()?;
        anyhow::ensure!(!begins.is_empty(), "it is empty");
        // What is too short to tell is most likely what is left of a recording.
        if begins.len() < MAGIC.len() && MAGIC.starts_with(begins) || begins.starts_with(&MAGIC) {
            Ok(Self::Recording(Box::new(Reader::new(file)?)))
        } else if capture::is_capture(begins) {
            Ok(Self::Capture(capture::Reader::new(file)?))
        } else if COMPRESSED.iter().any(|magic| begins.starts_with(magic)) {
            anyhow::bail!("it is compressed; decompress it first")
        } else {
            anyhow::bail!(
                "it is neither a recording of 'tcp-trace record' nor a packet capture (pcap or \
                 pcapng)"
            )
        }
    }
}

/// How gzip, zstd, xz and lz4 begin, in which captures are often kept.
const COMPRESSED: [&[u8]; 4] = [
    &[0x1f, 0x8b],
    &[0x28, 0xb5, 0x2f, 0xfd],
    &[0xfd, b'7', b'z', b'X', b'Z'],
    &[4, 0x22, 0x4d, 0x18],
];

/// Opens the recording or the capture at `path`.
pub(crate) fn open(path: &Path, config: &Config) -> anyhow::Result<Opened> {
    let file = File::open(path).with_context(|| format!("opening {} failed", path.display()))?;
    let content = Content::new(BufReader::new(file))
        .with_context(|| format!("{} cannot be replayed", path.display()))?;
    let (engine, inbox) = Engine::channel()?;
    Ok(Opened { content, engine, inbox, config: config.clone() })
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
        let Self { content, engine, inbox, config } = self;
        let (mut player, damage) = match content {
            Content::Recording(reader) => Player::recording(*reader, &inbox, &config, &mut pause),
            Content::Capture(reader) => {
                let (player, damage) = packets::play(reader, &inbox, &config, &mut pause);
                (player, damage.map(anyhow::Error::new))
            }
        };
        player.tracer.flush();
        pause();
        player.tracer.begun_at(player.first.unwrap_or_default());
        let passed_over = player.tracer.identity().passed_over.clone();
        let (alive, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _alive: oneshot::Sender<()> = alive;
            player.answer(&inbox);
        });
        let engine = Engine { handle: engine, thread: Some(thread), ended };
        Replayed { engine, damage, passed_over }
    }
}

/// Whether such a record was made when what it tells happened.
fn is_live(kind: u16) -> bool {
    kind != KIND_SEED && kind < KIND_SNAPSHOT_BEGUN
}

fn identity(header: &Header, config: &Config) -> Identity {
    let degradations = header.degradations.iter().map(|line| {
        Degradation::from_line(line).unwrap_or_else(|| Degradation {
            feature: "recorded".to_owned(),
            reason: line.clone(),
            effect: "as on the host that was recorded".to_owned(),
        })
    });
    Identity {
        kernel: header.kernel.clone(),
        source: "recording",
        backend: header.backend.clone(),
        hooks: Vec::new(),
        degradations: degradations.collect(),
        netns: header.netns.clone(),
        process_limit: config.process_limit,
        passed_over: Vec::new(),
        thresholds: config.thresholds,
        not_folded: Vec::new(),
    }
}

struct Player {
    tracer: Tracer,
    kernel: KernelFigures,
    first: Option<Ts>,
    last: Ts,
    stacks: Untold,
}

impl Player {
    /// Plays a recording to its end, or to its first damaged byte.
    fn recording(
        mut reader: Reader<impl io::Read>,
        inbox: &Inbox,
        config: &Config,
        mut pause: impl FnMut(),
    ) -> (Self, Option<anyhow::Error>) {
        let header = reader.header().clone();
        let channels = (inbox.events.clone(), std::sync::Arc::clone(&inbox.lagged));
        let wall = WallOffset { epoch_ns: header.wall_offset_ns };
        let mut tracer =
            Tracer::new(identity(&header, config), config.limits, channels, Ts(0), wall);
        tracer.set_sources(Sources::from_programs(&header.hooks));
        let mut player = Self {
            tracer,
            kernel: KernelFigures::default(),
            first: None,
            last: Ts(0),
            stacks: Untold::default(),
        };
        let damage = loop {
            match reader.next_frame() {
                Ok(Some(frame)) => player.frame(frame),
                Ok(None) => break None,
                Err(error) => break Some(error.into()),
            }
            pause();
        };
        (player, damage)
    }

    fn frame(&mut self, frame: Frame) {
        match frame {
            Frame::Record { cpu, bytes } => match decode::folded(&bytes) {
                Some(Ok(record)) => {
                    let at = Ts(record.state.time_ns);
                    let begun =
                        decode::folded_steps(&record).first().map_or(at, |step| Ts(step.time_ns));
                    self.first = Some(self.first.map_or(begun, |first| first.min(begun)));
                    self.last = self.last.max(at);
                    self.tracer.take_folded(u32::from(cpu), &record);
                    self.tracer.release(self.last);
                }
                Some(Err(error)) => self.tracer.malformed(&error),
                None => self.record(u32::from(cpu), &bytes),
            },
            Frame::Stack(news) => {
                let at = Ts(news.at);
                if let Some(event) = self.stacks.event(*news) {
                    self.tracer.take_stack(at, event);
                }
            }
            Frame::Lost { at, count } => self.tracer.take_recorded_loss(Ts(at), count),
            Frame::Counters { at, counters } => {
                self.last = self.last.max(Ts(at));
                self.kernel.counters = Counters(counters);
            }
            Frame::End { at, .. } => self.last = self.last.max(Ts(at)),
        }
    }

    fn record(&mut self, cpu: u32, bytes: &[u8]) {
        match decode::record(bytes) {
            Ok(record) => {
                let at = Ts(record.time_ns());
                // Time goes on with the recorded host's clock, and with nothing else.
                if is_live(record.kind()) {
                    self.first = Some(self.first.map_or(at, |first| first.min(at)));
                    self.last = self.last.max(at);
                }
                self.tracer.take_record(cpu, record);
                self.tracer.release(self.last);
            }
            Err(error) => self.tracer.malformed(&error),
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
