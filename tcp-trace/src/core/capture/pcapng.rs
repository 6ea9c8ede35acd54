//! The newer format: sections of blocks, packets of several interfaces among them.

use pcap_parser::pcapng::{
    InterfaceDescriptionBlock, OptionCode, parse_enhancedpacketblock_be,
    parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_sectionheaderblock, parse_simplepacketblock_be,
    parse_simplepacketblock_le,
};

use super::{
    BLOCK_LIMIT, CaptureError, INTERFACE_LIMIT, PACKET_LIMIT,
    pcap::u32_at,
    reader::{Input, Packet, damaged, nanos},
};
use crate::core::recording::Source;

/// Type of the block that begins a section; the same in either byte order.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// What came before the enhanced packet block.
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Marks the section's byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Type, length, and the length again.
const FRAME: u32 = 12;

/// A file of this format.
#[derive(Debug)]
pub(super) struct Pcapng {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Of the last packet that has a time: simple packets have none.
    last_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    /// Units of time in a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
    /// Bytes kept of a packet at most, 0 for all.
    snaplen: u32,
}

impl Interface {
    fn of(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        // Ten or two to the power that the lower bits tell.
        let power = u32::from(block.if_tsresol & 0x7f);
        let base = if block.if_tsresol & 0x80 == 0 { 10_u64 } else { 2 };
        let offset = block.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        let offset = offset.and_then(|option| option.value.first_chunk().copied());
        let offset = offset.map_or(0, |bytes| {
            if big_endian { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) }
        });
        let resolution = base.checked_pow(power).unwrap_or(u64::MAX);
        // The crate calls it signed; it is 16 bits without a sign.
        let link = u32::try_from(block.linktype.0).unwrap_or(u32::MAX);
        Self { link, resolution, offset, snaplen: block.snaplen }
    }

    fn wall_ns(self, high: u32, low: u32) -> u64 {
        let units = u64::from(high) << 32 | u64::from(low);
        let seconds = i128::from(units / self.resolution) + i128::from(self.offset);
        nanos(seconds, (units % self.resolution).into(), self.resolution.into())
    }
}

/// A block whose bytes stand in the buffer.
struct Block {
    kind: u32,
    start: u64,
}

impl Block {
    fn damaged(&self, what: &str) -> CaptureError {
        damaged(self.start, what)
    }
}

impl Pcapng {
    /// Reads the first section's block, whose type stands in the buffer.
    pub(super) fn begin(input: &mut Input<impl Source>) -> Result<Self, CaptureError> {
        let mut file = Self { big_endian: false, interfaces: Vec::new(), last_ns: 0 };
        input.append(4, "the first section's header")?;
        let block = file.load(input, 0)?;
        file.section(input, &block)?;
        Ok(file)
    }

    pub(super) fn next<'a>(
        &mut self,
        input: &'a mut Input<impl Source>,
    ) -> Result<Option<Packet<'a>>, CaptureError> {
        loop {
            let start = input.offset;
            if !input.load_or_end(8, "a block's header")? {
                return Ok(None);
            }
            let block = self.load(input, start)?;
            match block.kind {
                SECTION => self.section(input, &block)?,
                INTERFACE => self.interface(&input.buffer, &block)?,
                ENHANCED_PACKET | OLD_PACKET | SIMPLE_PACKET => {
                    return self.packet(&input.buffer, &block).map(Some);
                }
                // Names, statistics, secrets, comments: nothing of theirs is needed.
                _ => {}
            }
        }
    }

    /// Reads the rest of a block whose first 8 bytes stand in the buffer; of one that is not looked
    /// into, nothing is kept.
    fn load(&mut self, input: &mut Input<impl Source>, start: u64) -> Result<Block, CaptureError> {
        let kind = u32_at(&input.buffer, 0, self.big_endian);
        if kind == SECTION {
            input.append(4, "a section's header")?;
            self.big_endian = match u32_at(&input.buffer, 8, false) {
                BYTE_ORDER => false,
                order if order.swap_bytes() == BYTE_ORDER => true,
                _ => return Err(damaged(start, "a section names no byte order")),
            };
        }
        let length = u32_at(&input.buffer, 4, self.big_endian);
        if length < FRAME || !length.is_multiple_of(4) {
            return Err(damaged(start, format!("no block has a length of {length} bytes")));
        }
        let rest = length as usize - input.buffer.len().min(length as usize);
        let wanted =
            [SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET].contains(&kind);
        if !wanted {
            input.skip(rest as u64 - 4, "a block")?;
            input.append(4, "a block")?;
        } else if length > BLOCK_LIMIT {
            let what = format!("a block of {length} bytes is beyond reason");
            return Err(damaged(start, what));
        } else {
            input.append(rest, "a block")?;
        }
        let end = input.buffer.len().saturating_sub(4);
        if u32_at(&input.buffer, end, self.big_endian) != length {
            return Err(damaged(start, "a block's two lengths differ"));
        }
        Ok(Block { kind, start })
    }

    fn section(&mut self, input: &Input<impl Source>, block: &Block) -> Result<(), CaptureError> {
        let (_, header) = parse_sectionheaderblock(&input.buffer)
            .map_err(|_| block.damaged("this is no section header"))?;
        if header.major_version != 1 {
            let version = header.major_version;
            let what = format!("this section is pcapng {version}, which is not known here");
            return Err(damaged(block.start, what));
        }
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, bytes: &[u8], block: &Block) -> Result<(), CaptureError> {
        let parse = if self.big_endian {
            parse_interfacedescriptionblock_be
        } else {
            parse_interfacedescriptionblock_le
        };
        let (_, found) = parse(bytes).map_err(|_| block.damaged("this is no interface"))?;
        if self.interfaces.len() >= INTERFACE_LIMIT {
            let what = format!("more than {INTERFACE_LIMIT} interfaces are beyond reason");
            return Err(damaged(block.start, what));
        }
        self.interfaces.push(Interface::of(&found, self.big_endian));
        Ok(())
    }

    fn packet<'a>(&mut self, bytes: &'a [u8], block: &Block) -> Result<Packet<'a>, CaptureError> {
        let no_packet = || block.damaged("this is no packet");
        let raw = match block.kind {
            ENHANCED_PACKET => self.enhanced(bytes),
            OLD_PACKET => old(bytes, self.big_endian),
            _ => self.simple(bytes),
        };
        let raw = raw.ok_or_else(no_packet)?;
        let interface = usize::try_from(raw.interface).ok();
        let interface = interface.and_then(|index| self.interfaces.get(index).copied());
        let interface =
            interface.ok_or_else(|| block.damaged("a packet of an interface that is not there"))?;
        if raw.bytes.len() > PACKET_LIMIT as usize {
            let what = format!("a packet of {} bytes is beyond reason", raw.bytes.len());
            return Err(damaged(block.start, what));
        }
        if let Some((high, low)) = raw.time {
            self.last_ns = interface.wall_ns(high, low);
        }
        let (at_ns, link) = (self.last_ns, interface.link);
        Ok(Packet { at_ns, link, bytes: raw.bytes, length: raw.length })
    }

    fn enhanced<'a>(&self, bytes: &'a [u8]) -> Option<Raw<'a>> {
        let parse = if self.big_endian {
            parse_enhancedpacketblock_be
        } else {
            parse_enhancedpacketblock_le
        };
        let (_, packet) = parse(bytes).ok()?;
        let bytes = packet.data.get(..packet.caplen as usize)?;
        let time = Some((packet.ts_high, packet.ts_low));
        Some(Raw { interface: packet.if_id, time, bytes, length: packet.origlen })
    }

    /// It tells neither its time nor how much was captured: the interface's limit does.
    fn simple<'a>(&self, bytes: &'a [u8]) -> Option<Raw<'a>> {
        let parse =
            if self.big_endian { parse_simplepacketblock_be } else { parse_simplepacketblock_le };
        let (_, packet) = parse(bytes).ok()?;
        let limit = self.interfaces.first().map_or(0, |interface| interface.snaplen);
        let limit = if limit == 0 { u32::MAX } else { limit };
        let length = packet.origlen.min(limit) as usize;
        let bytes = packet.data.get(..length).unwrap_or(packet.data);
        Some(Raw { interface: 0, time: None, bytes, length: packet.origlen })
    }
}

struct Raw<'a> {
    interface: u32,
    time: Option<(u32, u32)>,
    bytes: &'a [u8],
    length: u32,
}

/// The crate does not read these: 2 bytes of interface, 2 of drops, then as in their successors.
fn old(bytes: &[u8], big_endian: bool) -> Option<Raw<'_>> {
    let word = |at| u32_at(bytes, at, big_endian);
    let interface = bytes.get(8..10)?.first_chunk().copied()?;
    let interface =
        if big_endian { u16::from_be_bytes(interface) } else { u16::from_le_bytes(interface) };
    let end = bytes.len().checked_sub(4)?;
    let packet = bytes.get(28..end)?.get(..word(20) as usize)?;
    let time = Some((word(12), word(16)));
    Some(Raw { interface: interface.into(), time, bytes: packet, length: word(24) })
}
