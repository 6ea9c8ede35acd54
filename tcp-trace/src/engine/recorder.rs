//! Writes what passes through the tracer to a recording.

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, io::Write};

use tcp_trace_common::{FoldedRecord, KIND_SNAPSHOT_BEGUN, KIND_SNAPSHOT_ENDED};
use zerocopy::IntoBytes as _;

use crate::core::{
    clock::Ts,
    decode::Record,
    recording::{Frame, Header, Told, Writer},
    stack::StackEvent,
};

/// A recording in the making.
pub(crate) struct Recorder {
    writer: Option<Writer<Box<dyn Write + Send>>>,
    pointers: RandomState,
    stacks: Told,
    failure: Option<std::io::Error>,
}

impl Recorder {
    /// Begins a recording.
    pub(crate) fn new(sink: Box<dyn Write + Send>, header: &Header) -> std::io::Result<Self> {
        let writer = Some(Writer::new(sink, header)?);
        Ok(Self { writer, pointers: RandomState::new(), stacks: Told::default(), failure: None })
    }

    /// Adds a record. Kernel addresses are replaced by numbers that mean nothing elsewhere: a
    /// recording is made to be sent to somebody.
    pub(crate) fn record(&mut self, cpu: u32, mut record: Record) {
        match &mut record {
            Record::State(record) => self.hide(&mut record.sk),
            // It holds no address of the kernel.
            Record::Segment(_) => {}
            Record::Life(record) => {
                self.hide(&mut record.sk);
                // Of a snapshot's marks this is a moment, of all other kinds an address.
                if !matches!(record.kind, KIND_SNAPSHOT_BEGUN | KIND_SNAPSHOT_ENDED) {
                    self.hide(&mut record.other);
                }
            }
        }
        let bytes = record.as_bytes().to_vec();
        self.write(&Frame::Record { cpu: u16::try_from(cpu).unwrap_or(u16::MAX), bytes });
    }

    /// Adds a connection that is told in one record.
    pub(crate) fn folded(&mut self, cpu: u32, record: &FoldedRecord) {
        let mut record = *record;
        self.hide(&mut record.state.sk);
        let bytes = record.as_bytes().to_vec();
        self.write(&Frame::Record { cpu: u16::try_from(cpu).unwrap_or(u16::MAX), bytes });
    }

    fn hide(&self, address: &mut u64) {
        if *address != 0 {
            *address = self.pointers.hash_one(*address).max(1);
        }
    }

    /// Adds a connection's stack.
    pub(crate) fn stack(&mut self, at: Ts, event: &StackEvent) {
        let mut sk = event.socket.sk;
        self.hide(&mut sk);
        let news = self.stacks.news(at, event, sk);
        self.write(&Frame::Stack(Box::new(news)));
    }

    /// Adds a loss.
    pub(crate) fn lost(&mut self, at: Ts, count: u64) {
        self.write(&Frame::Lost { at: at.0, count });
    }

    /// Adds the exact counters, the end mark, and says whether everything was written.
    pub(crate) fn finish(mut self, at: Ts, counters: Vec<u64>) -> std::io::Result<u64> {
        self.write(&Frame::Counters { at: at.0, counters });
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let Some(writer) = self.writer.take() else { return Ok(0) };
        let frames = writer.frames();
        writer.finish(at.0)?;
        Ok(frames)
    }

    /// After the first failure nothing more is written: half a frame would only look like damage.
    fn write(&mut self, frame: &Frame) {
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = writer.write(frame) {
            self.failure = Some(error);
            self.writer = None;
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("failure", &self.failure).finish_non_exhaustive()
    }
}
