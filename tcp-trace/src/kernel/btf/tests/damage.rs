//! What is cut, wrong or without an end must be survived and named; and the running kernel's own.

use super::{
    super::{Btf, MemberKind},
    UNSIGNED,
    builder::*,
    fault, member,
};

#[test]
fn references_without_an_end_are_cut_off() {
    let mut b = Builder::new(false);
    let (first, second) = (1, 2);
    b.refer(TYPEDEF, "one", second);
    b.refer(CONST, "", first);
    for (name, id) in [("loop", first), ("beyond", 1000), ("void", 0)] {
        b.of(STRUCT, name, 8, &[("x", id, 0)]);
    }
    b.refer(FUNC, "loop", first);
    let btf = b.btf();
    let what = |name| fault(btf.member(name, "x")).1;
    assert_eq!(what("loop"), "type references without an end");
    assert_eq!(what("beyond"), "reference to a type that is not there");
    assert_eq!(what("void"), "member of a type that has no size");
    assert!(fault(btf.typedef_function_parameters("one")).0 >= 24);
    assert!(fault(btf.function_parameters("loop")).0 >= 24);

    let mut b = Builder::new(false);
    b.array(1, 1);
    let huge = b.array(3, u32::MAX);
    b.int("int", 4, true);
    b.of(STRUCT, "s", 8, &[("array", 1, 0), ("huge", huge, 0)]);
    let btf = b.btf();
    assert_eq!(fault(btf.member("s", "array")).1, "arrays without an end");
    assert_eq!(fault(btf.member("s", "huge")).1, "array too long");
}

#[test]
fn anonymous_members_without_an_end_are_cut_off() {
    // Each contains the next a thousand times, and the last the first.
    let mut b = Builder::new(false);
    for id in 1..=10 {
        let next = id % 10 + 1;
        let name = if id == 1 { "outer" } else { "" };
        b.of(STRUCT, name, 8, &vec![("", next, 0); 1000]);
    }
    let btf = b.btf();
    let what = "anonymous members without an end";
    assert_eq!(fault(btf.member("outer", "x")).1, what);
    // All structures of a name share the limit.
    let mut b = Builder::new(false);
    for _ in 0..10_000 {
        b.of(STRUCT, "outer", 8, &[("", 1, 0)]);
    }
    assert_eq!(fault(b.btf().member("outer", "x")).1, what);
}

#[test]
fn a_member_ends_inside_its_structure() {
    let mut b = Builder::new(false);
    let int = b.int("int", 4, true);
    b.of(STRUCT, "s", 7, &[("x", int, 32)]);
    // As far in as one place goes, nine times, is beyond 4 GiB.
    let mut far = int;
    for _ in 0..9 {
        far = b.of(STRUCT, "far", u32::MAX, &[("x", far, u32::MAX - 7)]);
    }
    let btf = b.btf();
    let what = "structure ends before its member";
    assert_eq!(fault(btf.member("s", "x")).1, what);
    assert_eq!(fault(btf.member("far", "x.x.x.x.x.x.x.x.x")).1, what);
}

#[test]
fn headers_are_checked() {
    let whole = sample(false).bytes();
    let with = |at: usize, word: u32| {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        fault(Btf::parse(bytes))
    };
    let magic = 0x0001_eb9f;
    assert_eq!(with(0, magic + 1), (0, "no magic number of BTF"));
    assert_eq!(with(0, magic + 0x1_0000), (2, "not version 1"));
    assert_eq!(with(4, 23), (4, "header cut short"));
    for word in [u32::MAX, u32::try_from(whole.len()).unwrap()] {
        assert_eq!(with(8, word), (8, "section reaches past the end"));
        assert_eq!(with(12, word), (8, "section reaches past the end"));
        assert_eq!(with(16, word), (16, "section reaches past the end"));
        assert_eq!(with(20, word), (16, "section reaches past the end"));
    }
    let unended = "strings do not start and end with a zero";
    assert_eq!(with(20, 0).1, unended);
    assert_eq!(with(20, 3).1, unended);
    assert_eq!(with(24, u32::MAX), (24, "name outside the strings"));
    let short = u32::from_le_bytes([whole[12], whole[13], whole[14], whole[15]]) - 1;
    assert_eq!(with(12, short).1, "type cut short by the end of its section");
    assert_eq!(fault(Btf::parse(Vec::new())), (0, "no magic number of BTF"));
}

#[test]
fn a_longer_header_is_skipped() {
    let mut bytes = sample(false).bytes();
    bytes.splice(24..24, [0xff; 8]);
    bytes[4] = 32;
    let btf = Btf::parse(bytes).unwrap();
    assert_eq!(member(&btf, "sock", "common.port"), (8, 2, UNSIGNED));
}

#[test]
fn no_start_of_a_whole_btf_is_one() {
    for big_endian in [false, true] {
        let whole = sample(big_endian).bytes();
        for length in 0..whole.len() {
            assert!(Btf::parse(&whole[..length]).is_err(), "{length} bytes");
        }
    }
}

/// Asks everything, for what it may answer.
fn ask(btf: &Btf) {
    for structure in ["sock", "common", "bits", "net_t", "choice", "gone"] {
        let _ = btf.struct_size(structure);
        for path in [
            "common.port",
            "common.net.net",
            "common.choice.net.net",
            "common.high",
            "common.name",
            "table",
            "float",
            "wide",
            "tail.tail.tail",
            "one",
            "net",
        ] {
            if let (Ok(member), Ok(size)) =
                (btf.member(structure, path), btf.struct_size(structure))
            {
                assert!(
                    u64::from(member.offset_bytes) + u64::from(member.size_bytes) <= size.into()
                );
            }
        }
    }
    for (name, variant) in [("state", "UP"), ("mask", "ALL"), ("wide", "MINUS")] {
        let _ = btf.enum_value(name, variant);
    }
    let _ = btf.function_parameters("tcp_close");
    let _ = btf.typedef_function_parameters("btf_trace_close");
    let _ = btf.typedef_function_parameters("port_t");
}

#[test]
fn damaged_bytes_are_survived() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let whole = [false, true].map(|big_endian| sample(big_endian).bytes());
    let mut parsed = 0;
    for round in 0..6_000 {
        let mut bytes = whole[round % 2].clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] ^= u8::try_from(1 + random(255)).unwrap();
        }
        if let Ok(btf) = Btf::parse(bytes) {
            parsed += 1;
            ask(&btf);
        }
    }
    // Else the questions would go unasked.
    assert!(parsed > 1_000, "{parsed}");
}

#[test]
fn the_running_kernel_is_read() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("left out: no BTF of the running kernel here");
        return;
    };
    let btf = Btf::parse(bytes).unwrap();
    let sock = |path| member(&btf, "sock", path);
    assert_eq!(sock("__sk_common.skc_family").1, 2);
    let (remote, local) = (sock("__sk_common.skc_dport"), sock("__sk_common.skc_num"));
    assert_eq!((remote.0 + 2, 2, 2), (local.0, remote.1, local.1));
    assert_eq!(sock("__sk_common.skc_net.net").2, MemberKind::Pointer);
    assert_eq!(member(&btf, "net", "ns.inum").1, 4);
    assert_eq!(member(&btf, "tcp_sock", "rcv_nxt").1, 4);
    let size = |name| btf.struct_size(name).unwrap();
    assert!(size("tcp_sock") > size("sock") && size("sock") > size("sock_common"));
    let flag = |name| btf.enum_value("sock_flags", name).unwrap();
    assert_eq!((flag("SOCK_DEAD"), flag("SOCK_DONE")), (0, 1));
    assert!(btf.has_function("tcp_close"));
    assert_eq!(btf.function_parameters("tcp_close"), Ok(2));
    // The context, the socket and both states.
    let tracepoint = "btf_trace_inet_sock_set_state";
    assert!(btf.has_typedef(tracepoint));
    assert_eq!(btf.typedef_function_parameters(tracepoint), Ok(4));
}
