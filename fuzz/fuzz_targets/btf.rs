//! Any bytes are types or are refused, and every question about them ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcp_trace::kernel::btf::Btf;

fuzz_target!(|bytes: &[u8]| {
    let Ok(btf) = Btf::parse(bytes) else { return };
    let _ = btf.member("sock", "__sk_common.skc_net.net");
    let _ = btf.struct_size("tcp_sock");
    let _ = btf.enum_value("sock_flags", "SOCK_DONE");
    let _ = btf.typedef_function_parameters("btf_trace_inet_sock_set_state");
    let _ = btf.function_parameters("tcp_set_state");
});
