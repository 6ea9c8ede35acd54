use proptest::prelude::*;
use tcp_trace_common::{ABI_VERSION, OLDEST_ABI_VERSION};

use super::*;

fn header() -> Header {
    Header { byte_order: Header::BYTE_ORDER.to_owned(), ..Header::default() }
}

fn frames() -> Vec<Frame> {
    vec![
        Frame::Record { cpu: 1, bytes: vec![1, 2, 3] },
        Frame::Lost { at: 5, count: 9 },
        Frame::Counters { at: 6, counters: vec![1, 2, 3] },
        Frame::Record { cpu: 7, bytes: Vec::new() },
        Frame::Stack(Box::new(StackNews {
            at: 8,
            called: 7,
            cookie: 6,
            sk: 5,
            number: 4,
            stack: None,
        })),
    ]
}

fn written() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for frame in frames() {
        writer.write(&frame).unwrap();
    }
    writer.finish(77).unwrap()
}

/// All frames up to the end or the first error.
fn read(bytes: &[u8]) -> (Vec<Frame>, Result<(), RecordingError>) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut frames = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

#[test]
fn what_was_written_is_read() {
    let (mut read, result) = read(&written());
    assert!(result.is_ok());
    assert_eq!(read.pop(), Some(Frame::End { at: 77, frames: 5 }));
    assert_eq!(read, frames());
}

#[test]
fn every_cut_is_noticed_and_what_came_before_is_kept() {
    let whole = written();
    let mut kept = 0;
    for end in 0..whole.len() {
        let (frames, result) = read(&whole[..end]);
        let error = result.expect_err("a cut recording has no end");
        if let RecordingError::Cut { offset, .. } = error {
            assert!(offset <= end as u64);
        } else {
            assert!(end < 8, "{end}: {error}");
        }
        assert!(frames.len() >= kept);
        kept = frames.len();
    }
    assert_eq!(kept, frames().len());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = written();
    for at in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        let abi = u16::from_le_bytes([bytes[10], bytes[11]]);
        if (OLDEST_ABI_VERSION..ABI_VERSION).contains(&abi) {
            // That version's recordings are read as well, and its number has no checksum.
            continue;
        }
        let (frames, result) = read(&bytes);
        assert!(result.is_err(), "bit {at}");
        assert!(frames.len() <= 5);
    }
}

#[test]
fn older_recordings_are_read() {
    let mut bytes = written();
    bytes[10..12].copy_from_slice(&OLDEST_ABI_VERSION.to_le_bytes());
    assert!(read(&bytes).1.is_ok());
    bytes[10..12].copy_from_slice(&(OLDEST_ABI_VERSION - 1).to_le_bytes());
    assert!(matches!(read(&bytes).1, Err(RecordingError::Version { .. })));
}

#[test]
fn another_version_or_byte_order_is_named() {
    let mut bytes = written();
    bytes[8] = 9;
    let error = read(&bytes).1.unwrap_err().to_string();
    assert!(error.contains("format 9"), "{error}");
    let foreign = Header { byte_order: "middle".to_owned(), ..header() };
    let bytes = Writer::new(Vec::new(), &foreign).unwrap().finish(0).unwrap();
    assert!(matches!(read(&bytes).1, Err(RecordingError::ByteOrder(_))));
    assert!(matches!(read(b"#!/bin/sh").1, Err(RecordingError::NotARecording)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_tail_is_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = written();
        bytes.truncate(bytes.len() - 28);
        bytes.extend(tail);
        prop_assert!(read(&bytes).0.len() >= 4);
    }
}
