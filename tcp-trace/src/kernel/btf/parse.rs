//! The format: header, strings and the sequence of types.

use super::{Btf, BtfError, malformed};

const VERSION: u8 = 1;
/// Bytes of the header as first defined; later kernels append to it.
const HEADER: u32 = 24;
/// Where the header tells its own length, and the start and length of both sections.
const HEADER_LENGTH: u32 = 4;
const TYPES: u32 = 8;
const STRINGS: u32 = 16;
/// Bytes every type starts with.
const PREFIX: u32 = 12;
/// Bytes of a name that its hash covers, to bound the work of hashing one that never ends.
const HASHED: usize = 64;
/// What compilers call the integer that is as wide as a pointer, which BTF says nowhere else.
const LONG: [&str; 4] = ["long unsigned int", "long int", "unsigned long", "long"];

// The kinds of types; no type in the file is of the first, which stands for the type with id 0.
const VOID: u32 = 0;
pub(super) const INT: u32 = 1;
pub(super) const PTR: u32 = 2;
pub(super) const ARRAY: u32 = 3;
pub(super) const STRUCT: u32 = 4;
pub(super) const UNION: u32 = 5;
pub(super) const ENUM: u32 = 6;
const FWD: u32 = 7;
pub(super) const TYPEDEF: u32 = 8;
pub(super) const VOLATILE: u32 = 9;
pub(super) const CONST: u32 = 10;
pub(super) const RESTRICT: u32 = 11;
pub(super) const FUNC: u32 = 12;
pub(super) const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
pub(super) const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
pub(super) const TYPE_TAG: u32 = 18;
pub(super) const ENUM64: u32 = 19;

/// What every type starts with.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) at: u32,
    pub(super) name: u32,
    pub(super) kind: u32,
    pub(super) flag: bool,
    /// Number of members, variants or parameters.
    pub(super) entries: u32,
    /// The size or the type referred to, by kind.
    pub(super) extra: u32,
}

impl Btf {
    /// See [`Btf::parse`].
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let big_endian = match bytes.get(..2) {
            Some([0x9f, 0xeb]) => false,
            Some([0xeb, 0x9f]) => true,
            _ => return Err(malformed(0, "no magic number of BTF")),
        };
        if bytes.get(2) != Some(&VERSION) {
            return Err(malformed(2, "not version 1"));
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err(malformed(u32::MAX, "longer than its own offsets reach"));
        }
        let (types, names, pointer_size) = (Vec::new(), Vec::new(), 8);
        let mut btf = Self { bytes, big_endian, pointer_size, strings: 0..0, types, names };
        let header = btf.u32(HEADER_LENGTH)?;
        if header < HEADER {
            return Err(malformed(HEADER_LENGTH, "header cut short"));
        }
        let (start, end) = btf.section(STRINGS, header)?;
        btf.strings = start as usize..end as usize;
        // Every name then ends inside; and a module's strings, which continue the kernel's, fail.
        if !matches!(btf.bytes.get(btf.strings.clone()), Some([0] | [0, .., 0])) {
            return Err(malformed(start, "strings do not start and end with a zero"));
        }
        let (start, end) = btf.section(TYPES, header)?;
        btf.scan(start, end)?;
        Ok(btf)
    }

    /// Walks over all types, which have to be seen in order: only a type's kind tells its length.
    fn scan(&mut self, mut at: u32, end: u32) -> Result<(), BtfError> {
        let mut id = 0;
        while at < end {
            let record = self.record(at)?;
            let next = at.checked_add(PREFIX + record.tail()?);
            let next = next.filter(|&next| next <= end);
            let next = next.ok_or(malformed(at, "type cut short by the end of its section"))?;
            id += 1;
            self.types.push(at);
            let name = self.string(record.name, at)?;
            let (hash, named) = (hash(name), name.first() != Some(&0));
            let wide = record.kind == INT && matches!(record.extra, 4 | 8);
            if wide && LONG.iter().any(|long| is_named(name, long)) {
                self.pointer_size = record.extra;
            }
            if named && namespace(record.kind).is_some() {
                self.names.push((hash, id));
            }
            at = next;
        }
        self.types.shrink_to_fit();
        self.names.shrink_to_fit();
        self.names.sort_unstable();
        Ok(())
    }

    pub(super) fn record(&self, at: u32) -> Result<Record, BtfError> {
        let field = |offset: u32| self.u32(at.saturating_add(offset));
        let (name, info, extra) = (field(0)?, field(4)?, field(8)?);
        // Linux 7.1 widened the number of entries to 24 bits and the kind to 7; the added bits
        // were zero before.
        let (flag, kind, entries) = (info >> 31 == 1, info >> 24 & 0x7f, info & 0xff_ffff);
        Ok(Record { at, name, kind, flag, entries, extra })
    }

    /// The section whose start and length the header tells at `at`.
    fn section(&self, at: u32, header: u32) -> Result<(u32, u32), BtfError> {
        let start = header.checked_add(self.u32(at)?);
        let end = start.and_then(|start| start.checked_add(self.u32(at + 4).ok()?));
        match (start, end) {
            (Some(start), Some(end)) if end as usize <= self.bytes.len() => Ok((start, end)),
            _ => Err(malformed(at, "section reaches past the end")),
        }
    }

    /// The strings from the one at `offset` on.
    pub(super) fn string(&self, offset: u32, referrer: u32) -> Result<&[u8], BtfError> {
        let strings = self.bytes.get(self.strings.clone()).unwrap_or_default();
        match strings.get(offset as usize..) {
            Some(found) if !found.is_empty() => Ok(found),
            _ => Err(malformed(referrer, "name outside the strings")),
        }
    }

    pub(super) fn u32(&self, at: u32) -> Result<u32, BtfError> {
        let found = self.bytes.get(at as usize..).and_then(<[u8]>::first_chunk);
        let found = found.ok_or(malformed(at, "ends too early"))?;
        Ok(if self.big_endian { u32::from_be_bytes(*found) } else { u32::from_le_bytes(*found) })
    }
}

impl Record {
    /// What id 0 stands for, referred to from `at`.
    pub(super) const fn void(at: u32) -> Self {
        Self { at, name: 0, kind: VOID, flag: false, entries: 0, extra: 0 }
    }

    /// Where an entry starts. The type was seen to be whole, so that this is inside.
    pub(super) const fn entry(self, index: u32, width: u32) -> u32 {
        self.at + PREFIX + index * width
    }

    /// Bytes after the first twelve; with 24 bits of entries it cannot overflow.
    fn tail(self) -> Result<u32, BtfError> {
        Ok(match self.kind {
            PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            ENUM | FUNC_PROTO => self.entries * 8,
            STRUCT | UNION | DATASEC | ENUM64 => self.entries * 12,
            kind => {
                return Err(BtfError::UnknownKind { kind, offset: self.at });
            }
        })
    }
}

/// What the types of a kind that is asked for by name are called; C keeps each apart.
pub(super) const fn namespace(kind: u32) -> Option<&'static str> {
    match kind {
        STRUCT => Some("struct"),
        ENUM | ENUM64 => Some("enum"),
        FUNC => Some("function"),
        TYPEDEF => Some("typedef"),
        _ => None,
    }
}

/// Whether the string that `found` starts with is `name`.
pub(super) fn is_named(found: &[u8], name: &str) -> bool {
    let rest = found.strip_prefix(name.as_bytes());
    // A name with a zero in it would match two strings in a row.
    rest.and_then(<[u8]>::first) == Some(&0) && !name.is_empty() && !name.contains('\0')
}

/// FNV-1a of the start of the string that `name` starts with.
pub(super) fn hash(name: &[u8]) -> u32 {
    let name = name.iter().take_while(|&&byte| byte != 0).take(HASHED);
    name.fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
