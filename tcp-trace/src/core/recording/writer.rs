//! Writes recordings.

use std::io;

use tcp_trace_common::ABI_VERSION;

use super::{
    FORMAT, Frame, Header, MAGIC, Sink, TYPE_COUNTERS, TYPE_END, TYPE_LOST, TYPE_RECORD, TYPE_STACK,
};

/// Writes frames after a header.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    frames: u64,
}

#[expect(private_bounds, reason = "the bound only shortens std::io::Write")]
impl<W: Sink> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// Where the sink refuses the bytes.
    pub fn new(mut sink: W, header: &Header) -> io::Result<Self> {
        let json = serde_json::to_vec(header)?;
        sink.write_all(&MAGIC)?;
        sink.write_all(&FORMAT.to_le_bytes())?;
        sink.write_all(&ABI_VERSION.to_le_bytes())?;
        sink.write_all(&length(&json)?.to_le_bytes())?;
        sink.write_all(&json)?;
        sink.write_all(&crc32fast::hash(&json).to_le_bytes())?;
        Ok(Self { sink, frames: 0 })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// Where the sink refuses the bytes.
    pub fn write(&mut self, frame: &Frame) -> io::Result<()> {
        match frame {
            Frame::Record { cpu, bytes } => self.frame(TYPE_RECORD, *cpu, bytes),
            Frame::Lost { at, count } => self.frame(TYPE_LOST, 0, &words(&[*at, *count])),
            Frame::Counters { at, counters } => {
                let mut all = vec![*at];
                all.extend(counters);
                self.frame(TYPE_COUNTERS, 0, &words(&all))
            }
            Frame::Stack(news) => self.frame(TYPE_STACK, 0, &serde_json::to_vec(news)?),
            Frame::End { at, frames } => self.frame(TYPE_END, 0, &words(&[*at, *frames])),
        }
    }

    /// Ends the recording at `at` and gives the sink back.
    ///
    /// # Errors
    /// Where the sink refuses the bytes.
    pub fn finish(mut self, at: u64) -> io::Result<W> {
        let frames = self.frames;
        self.write(&Frame::End { at, frames })?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    /// Frames written so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    fn frame(&mut self, kind: u8, cpu: u16, payload: &[u8]) -> io::Result<()> {
        let mut head = [kind, 0, 0, 0, 0, 0, 0, 0];
        head[2..4].copy_from_slice(&cpu.to_le_bytes());
        head[4..8].copy_from_slice(&length(payload)?.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(payload);
        self.sink.write_all(&head)?;
        self.sink.write_all(payload)?;
        self.sink.write_all(&crc.finalize().to_le_bytes())?;
        self.frames += 1;
        Ok(())
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn length(payload: &[u8]) -> io::Result<u32> {
    u32::try_from(payload.len()).map_err(io::Error::other)
}
