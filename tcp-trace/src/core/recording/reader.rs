//! Reads recordings. Total: every input gives frames, then an end or the reason why not.

use std::io;

use tcp_trace_common::{ABI_VERSION, OLDEST_ABI_VERSION};

use super::{
    FORMAT, Frame, Header, LENGTH_LIMIT, MAGIC, RecordingError, Source, TYPE_COUNTERS, TYPE_END,
    TYPE_LOST, TYPE_RECORD, TYPE_STACK,
};

/// Reads frames after a header.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    offset: u64,
    frames: u64,
    done: bool,
}

#[expect(private_bounds, reason = "the bound only shortens std::io::Read")]
impl<R: Source> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Where this is no recording, or one that this version cannot read.
    pub fn new(source: R) -> Result<Self, RecordingError> {
        let mut reader =
            Self { source, header: Header::default(), offset: 0, frames: 0, done: false };
        let mut magic = [0; 8];
        match reader.fill(&mut magic, "the first bytes") {
            Ok(()) if magic == MAGIC => {}
            Ok(()) | Err(RecordingError::Cut { .. }) => return Err(RecordingError::NotARecording),
            Err(error) => return Err(error),
        }
        let mut version = [0; 4];
        reader.fill(&mut version, "the version")?;
        let (format, abi) = (le16(version, 0), le16(version, 2));
        if format != FORMAT || !(OLDEST_ABI_VERSION..=ABI_VERSION).contains(&abi) {
            return Err(RecordingError::Version { format, abi });
        }
        let start = reader.offset;
        let json = reader.sized("the header")?;
        let said = reader.crc("the header's checksum")?;
        if crc32fast::hash(&json) != said {
            return Err(damaged(start, "the header's checksum does not fit"));
        }
        reader.header = serde_json::from_slice(&json)
            .map_err(|error| damaged(start, &format!("the header is no header: {error}")))?;
        if reader.header.byte_order != Header::BYTE_ORDER {
            return Err(RecordingError::ByteOrder(reader.header.byte_order));
        }
        Ok(reader)
    }

    /// The facts of the host it was recorded on.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame, `None` after the last.
    ///
    /// # Errors
    /// At the first damaged or missing byte; what follows it cannot be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, RecordingError> {
        if self.done {
            return Ok(None);
        }
        // Whatever fails below, there is no way to find the next frame again.
        self.done = true;
        let start = self.offset;
        let frame = self.frame(start)?;
        if let Frame::End { frames, .. } = frame {
            if frames != self.frames {
                let what = format!("it should hold {frames} frames and holds {}", self.frames);
                return Err(damaged(start, &what));
            }
        } else {
            self.frames += 1;
            self.done = false;
        }
        Ok(Some(frame))
    }

    fn frame(&mut self, start: u64) -> Result<Frame, RecordingError> {
        let mut head = [0; 4];
        self.fill(&mut head, "its end mark")?;
        let cpu = le16(head, 2);
        let payload = self.sized("the rest of a frame")?;
        let said = self.crc("a frame's checksum")?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        crc.update(&payload);
        if crc.finalize() != said {
            return Err(damaged(start, "a frame's checksum does not fit"));
        }
        let mut words =
            payload.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let mut word = || words.next().ok_or_else(|| damaged(start, "a frame is too short"));
        match head[0] {
            TYPE_RECORD => Ok(Frame::Record { cpu, bytes: payload }),
            TYPE_LOST => Ok(Frame::Lost { at: word()?, count: word()? }),
            TYPE_STACK => serde_json::from_slice(&payload)
                .map(Frame::Stack)
                .map_err(|error| damaged(start, &format!("a stack is none: {error}"))),
            TYPE_COUNTERS => Ok(Frame::Counters { at: word()?, counters: words.collect() }),
            TYPE_END => Ok(Frame::End { at: word()?, frames: word()? }),
            other => Err(damaged(start, &format!("there is no frame of type {other}"))),
        }
    }

    fn sized(&mut self, what: &'static str) -> Result<Vec<u8>, RecordingError> {
        let start = self.offset;
        let mut length = [0; 4];
        self.fill(&mut length, what)?;
        let length = u32::from_le_bytes(length);
        if length > LENGTH_LIMIT {
            return Err(damaged(start, &format!("a length of {length} bytes is beyond reason")));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn crc(&mut self, what: &'static str) -> Result<u32, RecordingError> {
        let mut crc = [0; 4];
        self.fill(&mut crc, what)?;
        Ok(u32::from_le_bytes(crc))
    }

    fn fill(&mut self, bytes: &mut [u8], what: &'static str) -> Result<(), RecordingError> {
        let offset = self.offset;
        match self.source.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(RecordingError::Cut { offset, what })
            }
            Err(source) => Err(RecordingError::Io { offset, source }),
        }
    }
}

fn le16(bytes: [u8; 4], at: usize) -> u16 {
    let (low, high) = if at == 0 { (bytes[0], bytes[1]) } else { (bytes[2], bytes[3]) };
    u16::from_le_bytes([low, high])
}

fn damaged(offset: u64, what: &str) -> RecordingError {
    RecordingError::Damaged { offset, what: what.to_owned() }
}
