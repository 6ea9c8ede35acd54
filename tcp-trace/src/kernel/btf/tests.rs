//! On hand-made types in both byte orders, on damaged ones, and on the running kernel's.

use super::{Btf, BtfError, Member, MemberKind};
mod builder;
mod damage;

use builder::*;

const UNSIGNED: MemberKind = MemberKind::Int { signed: false };
const SIGNED: MemberKind = MemberKind::Int { signed: true };
fn member(btf: &Btf, structure: &str, path: &str) -> (u32, u32, MemberKind) {
    let Member { offset_bytes, size_bytes, kind } = btf.member(structure, path).unwrap();
    (offset_bytes, size_bytes, kind)
}

fn array(element_size: u32, count: u32) -> MemberKind {
    MemberKind::Array { element_size, count }
}

/// What a malformed BTF is told to be.
fn fault<T: std::fmt::Debug>(result: Result<T, BtfError>) -> (u32, &'static str) {
    match result {
        Err(BtfError::Malformed { offset, what }) => (offset, what),
        other => panic!("not malformed: {other:?}"),
    }
}

#[test]
fn members_are_found_at_their_place_in_both_byte_orders() {
    for big_endian in [false, true] {
        let btf = sample(big_endian).btf();
        let at = |path| member(&btf, "sock", path);
        assert_eq!(at("common.port"), (8, 2, UNSIGNED));
        assert_eq!(at("common.whole"), (16, 8, UNSIGNED));
        assert_eq!(at("common.low"), (16, 4, UNSIGNED));
        assert_eq!(at("common.high"), (20, 4, UNSIGNED));
        assert_eq!(at("common.net"), (24, 8, MemberKind::Struct));
        assert_eq!(at("common.net.net"), (24, 8, MemberKind::Pointer));
        assert_eq!(at("common.choice"), (48, 8, MemberKind::Union));
        assert_eq!(at("common.choice.net.net"), (48, 8, MemberKind::Pointer));
        let name = array(1, 16);
        assert_eq!(at("common.name"), (32, 16, name));
        let table = array(16, 3);
        assert_eq!(at("table"), (56, 48, table));
        assert_eq!(at("state"), (104, 4, MemberKind::Enum));
        assert_eq!(at("wide"), (112, 8, MemberKind::Enum));
        assert_eq!(at("float"), (120, 8, MemberKind::Float));
        assert_eq!(at("error"), (128, 4, SIGNED));
        assert_eq!(member(&btf, "bits", "plain"), (1, 1, UNSIGNED));
        assert_eq!(btf.struct_size("sock"), Ok(160));
    }
}

#[test]
fn what_is_missing_is_named() {
    let btf = sample(false).btf();
    let missing = |path: &str| match btf.member("sock", path) {
        Err(BtfError::NoSuchMember { kind, name, member }) => format!("{kind} {name}: {member}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(missing("por"), "struct sock: por");
    assert_eq!(missing("common.por"), "struct sock: common.por");
    assert_eq!(missing("common.ports"), "struct sock: common.ports");
    assert_eq!(missing("gone.port"), "struct sock: gone");
    assert_eq!(missing("error.port"), "struct sock: error.port");
    assert_eq!(missing("common.net.net.x"), "struct sock: common.net.net.x");
    // No name matches the anonymous union, nor two strings in a row.
    assert_eq!(missing(""), "struct sock: ");
    assert_eq!(missing("common..low"), "struct sock: common.");
    assert_eq!(missing("common.port\0"), "struct sock: common.port\0");

    let nothing = |name: &str| BtfError::NoSuchType { kind: "struct", name: name.into() };
    for name in ["gone", "", "soc", "sock\0", "choice", "state"] {
        assert_eq!(btf.struct_size(name), Err(nothing(name)));
        assert_eq!(btf.member(name, "net"), Err(nothing(name)));
    }
    let error = btf.member("sock", "common.por").unwrap_err();
    assert_eq!(error.to_string(), "struct sock has no member common.por");
}

#[test]
fn a_name_is_taken_for_a_structure_only() {
    let mut b = Builder::new(false);
    let int = b.int("int", 4, true);
    b.of(UNION, "sock", 8, &[("x", int, 0)]);
    b.refer(FWD, "sock", 0);
    b.refer(TYPEDEF, "sock", int);
    b.of(STRUCT, "sock", 16, &[("x", int, 32)]);
    b.refer(FWD, "later", 0);
    let btf = b.btf();
    assert_eq!(btf.struct_size("sock"), Ok(16));
    assert_eq!(member(&btf, "sock", "x"), (4, 4, SIGNED));
    assert!(btf.struct_size("later").is_err());
    assert!(!btf.has_function("sock"));
    assert!(btf.has_typedef("sock"));
}

#[test]
fn bitfields_are_refused() {
    let mut b = sample(true);
    let narrow = b.add("int", INT, 0, 4, &[3]);
    let moved = b.add("int", INT, 0, 4, &[2 << 16 | 32]);
    b.of(STRUCT, "old", 8, &[("three", narrow, 5), ("moved", moved, 8)]);
    let btf = b.btf();
    let refused = |structure, path: &str| match btf.member(structure, path) {
        Err(BtfError::Bitfield { member, bit_offset, bits, .. }) if member == path => {
            (bit_offset, bits)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("bits", "one"), (3, 1));
    assert_eq!(refused("bits", "byte"), (16, 8));
    assert_eq!(refused("bits", "odd"), (33, 0));
    assert_eq!(refused("old", "three"), (5, 3));
    assert_eq!(refused("old", "moved"), (10, 32));
}

#[test]
fn of_several_structures_the_one_with_the_member_counts() {
    let mut b = Builder::new(false);
    let int = b.int("int", 4, true);
    b.of(STRUCT, "twin", 8, &[("left", int, 0), ("same", int, 32)]);
    b.of(STRUCT, "twin", 8, &[("right", int, 0), ("same", int, 32)]);
    b.of(STRUCT, "apart", 8, &[("x", int, 0)]);
    b.of(STRUCT, "apart", 12, &[("x", int, 32)]);
    let bit = 1 << 24;
    b.flagged(STRUCT, "part", 4, &[("x", int, bit)], 1);
    b.of(STRUCT, "part", 4, &[("y", int, 0)]);
    let btf = b.btf();
    assert_eq!(member(&btf, "twin", "left"), (0, 4, SIGNED));
    assert_eq!(member(&btf, "twin", "right"), (0, 4, SIGNED));
    assert_eq!(member(&btf, "twin", "same"), (4, 4, SIGNED));
    assert_eq!(btf.struct_size("twin"), Ok(8));
    let differ = BtfError::Ambiguous { kind: "struct", name: "apart".into() };
    assert_eq!(btf.member("apart", "x"), Err(differ.clone()));
    assert_eq!(btf.struct_size("apart"), Err(differ));
    // The bitfield explains more than that the other structure has nothing of the name.
    let error = btf.member("part", "x").unwrap_err();
    assert!(matches!(error, BtfError::Bitfield { .. }), "{error}");
}

#[test]
fn variants_have_their_values() {
    for big_endian in [false, true] {
        let btf = sample(big_endian).btf();
        assert_eq!(btf.enum_value("state", "UP"), Ok(1));
        assert_eq!(btf.enum_value("state", "UPPER"), Ok(2));
        assert_eq!(btf.enum_value("state", "DOWN"), Ok(-1));
        assert_eq!(btf.enum_value("mask", "ALL"), Ok(u32::MAX.into()));
        assert_eq!(btf.enum_value("wide", "HUGE"), Ok((1 << 32) + 7));
        assert_eq!(btf.enum_value("wide", "MINUS"), Ok(-1));
        let error = btf.enum_value("state", "GONE").unwrap_err();
        assert_eq!(error.to_string(), "enum state has no member GONE");
        let error = btf.enum_value("gone", "UP").unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no enum gone");
    }
}

#[test]
fn parameters_are_counted() {
    let mut b = sample(false);
    b.refer(FUNC, "odd", 1);
    let nothing = b.refer(PTR, "", 0);
    b.refer(TYPEDEF, "to_nothing", nothing);
    b.refer(TYPEDEF, "nothing", 0);
    let btf = b.btf();
    assert!(btf.has_function("tcp_close") && !btf.has_function("tcp_open"));
    assert_eq!(btf.function_parameters("tcp_close"), Ok(3));
    assert!(btf.has_typedef("btf_trace_close") && !btf.has_typedef("btf_trace_open"));
    assert_eq!(btf.typedef_function_parameters("btf_trace_close"), Ok(3));
    for name in ["to_nothing", "nothing", "u16"] {
        let error = btf.typedef_function_parameters(name).unwrap_err();
        assert!(matches!(error, BtfError::NotAFunction { .. }), "{error}");
    }
    let error = btf.function_parameters("odd").unwrap_err();
    assert_eq!(error.to_string(), "function odd does not lead to a function");
    let error = btf.function_parameters("u16").unwrap_err();
    assert_eq!(error.to_string(), "the kernel has no function u16");
}

#[test]
fn pointers_are_as_wide_as_long() {
    let mut b = Builder::new(true);
    b.int("long int", 4, true);
    let pointer = b.refer(PTR, "", 0);
    b.of(STRUCT, "s", 8, &[("p", pointer, 32)]);
    assert_eq!(member(&b.btf(), "s", "p"), (4, 4, MemberKind::Pointer));
}

#[test]
fn every_kind_is_as_long_as_it_is() {
    // Words after the common ones, alone and for each entry; a structure stands behind each.
    let kinds = [
        (INT, 1, 0),
        (PTR, 0, 0),
        (ARRAY, 3, 0),
        (STRUCT, 0, 3),
        (UNION, 0, 3),
        (ENUM, 0, 2),
        (FWD, 0, 0),
        (TYPEDEF, 0, 0),
        (VOLATILE, 0, 0),
        (CONST, 0, 0),
        (RESTRICT, 0, 0),
        (FUNC, 0, 0),
        (FUNC_PROTO, 0, 2),
        (VAR, 1, 0),
        (DATASEC, 0, 3),
        (FLOAT, 0, 0),
        (DECL_TAG, 1, 0),
        (TYPE_TAG, 0, 0),
        (ENUM64, 0, 3),
    ];
    for (kind, alone, each) in kinds {
        for flag in [0, 1 << 31] {
            let mut b = Builder::new(false);
            let entries = if each == 0 { 0 } else { 5 };
            let words = vec![0; alone + each * entries as usize];
            b.add("it", kind, flag | entries, 4, &words);
            b.of(STRUCT, "behind", 40 + kind, &[]);
            assert_eq!(b.btf().struct_size("behind"), Ok(40 + kind));
        }
    }
}

#[test]
fn an_unknown_kind_is_named() {
    for kind in [0, 20, 31, 0x7f] {
        let mut b = Builder::new(false);
        b.int("int", 4, true);
        b.add("new", kind, 0, 0, &[]);
        let error = Btf::parse(b.bytes()).unwrap_err();
        assert_eq!(error, BtfError::UnknownKind { kind, offset: 40 });
    }
}

#[test]
fn more_than_16_bits_of_members_are_read() {
    let mut b = Builder::new(false);
    let int = b.int("int", 4, true);
    let mut members = vec![("other", int, 0); 70_000];
    members.push(("last", int, 64));
    b.of(STRUCT, "long", 12, &members);
    assert_eq!(member(&b.btf(), "long", "last"), (8, 4, SIGNED));
}

#[test]
fn names_of_one_hash_are_told_apart() {
    let long = "x".repeat(100);
    let names = ["costarring", "liquid", &format!("{long}1"), &format!("{long}2")];
    let mut b = Builder::new(false);
    for (size, name) in (1..).zip(names) {
        b.of(STRUCT, name, size, &[]);
    }
    let btf = b.btf();
    let hashes: Vec<_> = btf.names.iter().map(|(hash, _)| hash).collect();
    assert!(hashes[0] == hashes[1] && hashes[2] == hashes[3]);
    for (size, name) in (1..).zip(names) {
        assert_eq!(btf.struct_size(name), Ok(size));
    }
}
