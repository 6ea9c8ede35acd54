//! Every program of the object but those of the state changes, best first for each role.

use super::{
    Arguments::{AtLeast, Exactly},
    Hook,
    Mechanism::{Fentry, Fexit, Kprobe, Kretprobe, RawTp, TpBtf},
    Role,
};

macro_rules! hook {
    ($role:ident, $mechanism:ident, $program:literal, $target:literal, $arguments:expr) => {
        Hook {
            role: Role::$role,
            program: $program,
            mechanism: $mechanism,
            target: $target,
            arguments: $arguments,
        }
    };
}

/// The programs. Argument counts are those of the kernels from 5.10 to 7.2; where they changed, one
/// line stands for each.
pub const CATALOGUE: &[Hook] = &[
    hook!(Listen, Fentry, "listen_fentry", "inet_csk_listen_start", AtLeast(1)),
    hook!(Listen, Kprobe, "listen_kprobe", "inet_csk_listen_start", AtLeast(1)),
    hook!(Child, Fexit, "child_fexit", "inet_csk_clone_lock", Exactly(3)),
    hook!(Child, Kretprobe, "child_kretprobe", "inet_csk_clone_lock", AtLeast(1)),
    hook!(Connect, Fentry, "connect_fentry", "tcp_connect", AtLeast(1)),
    hook!(Connect, Kprobe, "connect_kprobe", "tcp_connect", AtLeast(1)),
    // (sk, flags, err, kern) up to 6.9, (sk, arg) since.
    hook!(Accept, Fexit, "accept_fexit_2", "inet_csk_accept", Exactly(2)),
    hook!(Accept, Fexit, "accept_fexit_4", "inet_csk_accept", Exactly(4)),
    hook!(Accept, Kretprobe, "accept_kretprobe", "inet_csk_accept", AtLeast(1)),
    hook!(Close, Fentry, "close_fentry", "tcp_close", AtLeast(1)),
    hook!(Close, Kprobe, "close_kprobe", "tcp_close", AtLeast(1)),
    hook!(Destroyed, TpBtf, "destroyed_tp_btf", "tcp_destroy_sock", AtLeast(1)),
    hook!(Destroyed, RawTp, "destroyed_raw_tp", "tcp_destroy_sock", AtLeast(1)),
    hook!(TimeWaitEnded, Fentry, "time_wait_ended_fentry", "inet_twsk_kill", AtLeast(1)),
    hook!(TimeWaitEnded, Kprobe, "time_wait_ended_kprobe", "inet_twsk_kill", AtLeast(1)),
    // Since 6.11 the timer is armed under the same lock, and the function named for it.
    hook!(
        TimeWaitBorn,
        Fentry,
        "time_wait_born_fentry",
        "inet_twsk_hashdance_schedule",
        AtLeast(2)
    ),
    hook!(TimeWaitBorn, Fentry, "time_wait_born_fentry", "inet_twsk_hashdance", AtLeast(2)),
    hook!(
        TimeWaitBorn,
        Kprobe,
        "time_wait_born_kprobe",
        "inet_twsk_hashdance_schedule",
        AtLeast(2)
    ),
    hook!(TimeWaitBorn, Kprobe, "time_wait_born_kprobe", "inet_twsk_hashdance", AtLeast(2)),
    hook!(
        TimeWaitEnter,
        Fentry,
        "time_wait_enter_fentry",
        "tcp_timewait_state_process",
        AtLeast(1)
    ),
    hook!(
        TimeWaitEnter,
        Kprobe,
        "time_wait_enter_kprobe",
        "tcp_timewait_state_process",
        AtLeast(1)
    ),
    // (tw, skb, th), then with the new connection's sequence number, then with a drop reason.
    hook!(
        TimeWaitLeave,
        Fexit,
        "time_wait_leave_fexit_3",
        "tcp_timewait_state_process",
        Exactly(3)
    ),
    hook!(
        TimeWaitLeave,
        Fexit,
        "time_wait_leave_fexit_4",
        "tcp_timewait_state_process",
        Exactly(4)
    ),
    hook!(
        TimeWaitLeave,
        Fexit,
        "time_wait_leave_fexit_5",
        "tcp_timewait_state_process",
        Exactly(5)
    ),
    hook!(
        TimeWaitLeave,
        Kretprobe,
        "time_wait_leave_kretprobe",
        "tcp_timewait_state_process",
        AtLeast(1)
    ),
    hook!(TimeWaitReuse, Fentry, "time_wait_reuse_fentry", "tcp_twsk_unique", AtLeast(2)),
    hook!(TimeWaitReuse, Kprobe, "time_wait_reuse_kprobe", "tcp_twsk_unique", AtLeast(2)),
    hook!(TimeWaitRefused, Fexit, "time_wait_refused_fexit", "inet_twsk_alloc", Exactly(3)),
    hook!(TimeWaitRefused, Kretprobe, "time_wait_refused_kretprobe", "inet_twsk_alloc", AtLeast(1)),
    hook!(Request, Fentry, "request_fentry", "inet_csk_reqsk_queue_hash_add", AtLeast(2)),
    hook!(Request, Kprobe, "request_kprobe", "inet_csk_reqsk_queue_hash_add", AtLeast(2)),
    hook!(SynAck, TpBtf, "synack_tp_btf", "tcp_retransmit_synack", AtLeast(2)),
    hook!(SynAck, RawTp, "synack_raw_tp", "tcp_retransmit_synack", AtLeast(2)),
    hook!(ResetSent, TpBtf, "reset_sent_tp_btf", "tcp_send_reset", AtLeast(1)),
    hook!(ResetSent, RawTp, "reset_sent_raw_tp", "tcp_send_reset", AtLeast(1)),
    hook!(ResetReceived, TpBtf, "reset_received_tp_btf", "tcp_receive_reset", AtLeast(1)),
    hook!(ResetReceived, RawTp, "reset_received_raw_tp", "tcp_receive_reset", AtLeast(1)),
    hook!(Retransmit, TpBtf, "retransmit_tp_btf", "tcp_retransmit_skb", AtLeast(1)),
    hook!(Retransmit, RawTp, "retransmit_raw_tp", "tcp_retransmit_skb", AtLeast(1)),
];
