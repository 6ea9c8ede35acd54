//! The classic format: one header, then packets.

use pcap_parser::{
    parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
};

use super::{
    CaptureError, LinkType, PACKET_LIMIT,
    reader::{Input, Packet, damaged, nanos},
};
use crate::core::recording::Source;

/// Microseconds, nanoseconds, and a variant of old Linux whose packets have a longer header.
const MAGICS: [u32; 3] = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34];

/// Whether a file begins with these four bytes, read as little-endian.
pub(super) fn is_magic(magic: u32) -> bool {
    // Of the variant, none was ever seen in the other byte order.
    MAGICS.contains(&magic) || MAGICS[..2].contains(&magic.swap_bytes())
}

/// A file of this format.
#[derive(Debug)]
pub(super) struct Pcap {
    big_endian: bool,
    long_headers: bool,
    fractions: i128,
    link: u32,
}

impl Pcap {
    /// Reads what follows the magic number, which stands in the buffer.
    pub(super) fn begin(input: &mut Input<impl Source>) -> Result<Self, CaptureError> {
        input.append(20, "the file's header")?;
        let (_, header) =
            parse_pcap_header(&input.buffer).map_err(|_| CaptureError::NotACapture)?;
        if header.version_major != 2 {
            let (major, minor) = (header.version_major, header.version_minor);
            return Err(CaptureError::Version { major, minor });
        }
        // Above it stand flags, such as how many bytes of check sequence follow each frame.
        let link = u32::from_ne_bytes(header.network.0.to_ne_bytes()) & 0xffff;
        LinkType::from_number(link).ok_or(CaptureError::Link { number: link })?;
        Ok(Self {
            big_endian: header.is_bigendian(),
            long_headers: header.is_modified_format(),
            fractions: if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 },
            link,
        })
    }

    pub(super) fn next<'a>(
        &mut self,
        input: &'a mut Input<impl Source>,
    ) -> Result<Option<Packet<'a>>, CaptureError> {
        let start = input.offset;
        let header = if self.long_headers { 24 } else { 16 };
        if !input.load_or_end(header, "a packet's header")? {
            return Ok(None);
        }
        let length = u32_at(&input.buffer, 8, self.big_endian);
        if length > PACKET_LIMIT {
            let what = format!("a packet of {length} bytes is beyond reason");
            return Err(damaged(start, what));
        }
        input.append(length as usize, "a packet")?;
        let parse = match (self.long_headers, self.big_endian) {
            (true, _) => parse_pcap_frame_modified,
            (false, true) => parse_pcap_frame_be,
            (false, false) => parse_pcap_frame,
        };
        let (_, packet) = parse(&input.buffer).map_err(|_| damaged(start, "this is no packet"))?;
        let at_ns = nanos(packet.ts_sec.into(), packet.ts_usec.into(), self.fractions);
        Ok(Some(Packet { at_ns, link: self.link, bytes: packet.data, length: packet.origlen }))
    }
}

/// The 32 bits at `at`, 0 where there are none.
pub(super) fn u32_at(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or_default();
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}
