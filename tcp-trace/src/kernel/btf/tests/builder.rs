//! Types written by hand, as a compiler would.

use super::Btf;

// The numbers of the format, written out again so that a wrong one in the reader shows.
pub(super) const INT: u32 = 1;
pub(super) const PTR: u32 = 2;
pub(super) const ARRAY: u32 = 3;
pub(super) const STRUCT: u32 = 4;
pub(super) const UNION: u32 = 5;
pub(super) const ENUM: u32 = 6;
pub(super) const FWD: u32 = 7;
pub(super) const TYPEDEF: u32 = 8;
pub(super) const VOLATILE: u32 = 9;
pub(super) const CONST: u32 = 10;
pub(super) const RESTRICT: u32 = 11;
pub(super) const FUNC: u32 = 12;
pub(super) const FUNC_PROTO: u32 = 13;
pub(super) const VAR: u32 = 14;
pub(super) const DATASEC: u32 = 15;
pub(super) const FLOAT: u32 = 16;
pub(super) const DECL_TAG: u32 = 17;
pub(super) const TYPE_TAG: u32 = 18;
pub(super) const ENUM64: u32 = 19;

/// Writes BTF.
pub(super) struct Builder {
    pub(super) big_endian: bool,
    pub(super) types: Vec<u8>,
    pub(super) strings: Vec<u8>,
    pub(super) last_id: u32,
}

impl Builder {
    pub(super) fn new(big_endian: bool) -> Self {
        Self { big_endian, types: Vec::new(), strings: vec![0], last_id: 0 }
    }

    pub(super) fn word(&self, word: u32) -> [u8; 4] {
        if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    pub(super) fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        offset
    }

    /// A type with `info` but for its kind, and the words after the common ones; its id.
    pub(super) fn add(
        &mut self,
        name: &str,
        kind: u32,
        info: u32,
        extra: u32,
        words: &[u32],
    ) -> u32 {
        let name = self.name(name);
        for word in [name, kind << 24 | info, extra].iter().chain(words) {
            let word = self.word(*word);
            self.types.extend(word);
        }
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn int(&mut self, name: &str, size: u32, signed: bool) -> u32 {
        self.add(name, INT, 0, size, &[(u32::from(signed) << 24) | (size * 8)])
    }

    pub(super) fn refer(&mut self, kind: u32, name: &str, id: u32) -> u32 {
        self.add(name, kind, 0, id, &[])
    }

    pub(super) fn array(&mut self, element: u32, count: u32) -> u32 {
        self.add("", ARRAY, 0, 0, &[element, 1, count])
    }

    /// A structure or union of members with name, type and place.
    pub(super) fn of(
        &mut self,
        kind: u32,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        self.flagged(kind, name, size, members, 0)
    }

    pub(super) fn flagged(
        &mut self,
        kind: u32,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32)],
        flag: u32,
    ) -> u32 {
        let mut words = Vec::new();
        for &(member, id, place) in members {
            words.extend([self.name(member), id, place]);
        }
        let count = u32::try_from(members.len()).unwrap();
        self.add(name, kind, flag << 31 | count, size, &words)
    }

    pub(super) fn variants(
        &mut self,
        kind: u32,
        name: &str,
        flag: u32,
        variants: &[(&str, &[u32])],
    ) -> u32 {
        let mut words = Vec::new();
        for &(variant, value) in variants {
            words.push(self.name(variant));
            words.extend(value);
        }
        let count = u32::try_from(variants.len()).unwrap();
        let size = if kind == ENUM { 4 } else { 8 };
        self.add(name, kind, flag << 31 | count, size, &words)
    }

    /// A function type of that many parameters.
    pub(super) fn prototype(&mut self, parameters: u32) -> u32 {
        let words = vec![0; parameters as usize * 2];
        self.add("", FUNC_PROTO, parameters, 0, &words)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let magic: u16 = 0xeb9f;
        let mut bytes = if self.big_endian {
            magic.to_be_bytes().to_vec()
        } else {
            magic.to_le_bytes().to_vec()
        };
        bytes.extend([1, 0]);
        let lengths = [self.types.len(), self.strings.len()];
        let [types, strings] = lengths.map(|length| u32::try_from(length).unwrap());
        for word in [24, 0, types, types, strings] {
            bytes.extend(self.word(word));
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }

    pub(super) fn btf(&self) -> Btf {
        Btf::parse(self.bytes()).unwrap()
    }
}
/// A little kernel with one of everything.
pub(super) fn sample(big_endian: bool) -> Builder {
    let mut b = Builder::new(big_endian);
    let u32_ = b.int("unsigned int", 4, false);
    let int = b.int("int", 4, true);
    let u16_ = b.int("short unsigned int", 2, false);
    let u8_ = b.int("unsigned char", 1, false);
    let u64_ = b.int("long unsigned int", 8, false);
    let float = b.add("double", FLOAT, 0, 8, &[]);
    let pointer = b.refer(PTR, "", 0);
    let mut port = b.refer(TYPEDEF, "u16", u16_);
    for kind in [CONST, VOLATILE, RESTRICT, TYPE_TAG] {
        port = b.refer(kind, "", port);
    }
    let port = b.refer(TYPEDEF, "port_t", port);
    let name = b.array(u8_, 16);
    let table = b.array(name, 3);
    let state =
        b.variants(ENUM, "state", 1, &[("UP", &[1]), ("DOWN", &[u32::MAX]), ("UPPER", &[2])]);
    b.variants(ENUM, "mask", 0, &[("ALL", &[u32::MAX])]);
    let wide =
        b.variants(ENUM64, "wide", 0, &[("HUGE", &[7, 1]), ("MINUS", &[u32::MAX, u32::MAX])]);
    let halves = b.of(STRUCT, "", 8, &[("low", u32_, 0), ("high", u32_, 32)]);
    let either = b.of(UNION, "", 8, &[("whole", u64_, 0), ("", halves, 0)]);
    let either = b.refer(CONST, "", either);
    let net = b.of(STRUCT, "net_t", 8, &[("net", pointer, 0)]);
    let choice = b.of(UNION, "choice", 8, &[("number", u64_, 0), ("net", net, 0)]);
    let common = b.of(
        STRUCT,
        "common",
        48,
        &[
            ("port", port, 0),
            ("", either, 64),
            ("net", net, 128),
            ("name", name, 192),
            ("choice", choice, 320),
        ],
    );
    b.of(
        STRUCT,
        "sock",
        160,
        &[
            ("common", common, 64),
            ("table", table, 448),
            ("state", state, 832),
            ("wide", wide, 896),
            ("float", float, 960),
            ("error", int, 1024),
            ("tail", b.last_id, 0),
        ],
    );
    let flag = 1;
    b.flagged(
        STRUCT,
        "bits",
        8,
        &[
            ("plain", u8_, 8),
            ("one", u32_, 1 << 24 | 3),
            ("byte", u32_, 8 << 24 | 16),
            ("odd", u8_, 33),
        ],
        flag,
    );
    let prototype = b.prototype(3);
    let callback = b.refer(PTR, "", prototype);
    b.refer(FUNC, "tcp_close", prototype);
    b.refer(TYPEDEF, "btf_trace_close", callback);
    b
}
