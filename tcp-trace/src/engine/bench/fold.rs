//! The one record of a life that is told at once.

use tcp_trace_common as wire;
use zerocopy::FromZeros as _;

use super::life::{Life, Mix, Role};
use crate::core::{clock::Ts, tcp_state::TcpState as S};

/// Between two steps, in nanoseconds.
const PAUSE: u64 = 40_000;

/// A change of state, and what its socket's flags are then.
fn step(old: S, new: S) -> (u8, u8) {
    let flags = match new {
        S::SynSent | S::Established => wire::SOCK_ATTACHED,
        S::CloseWait => wire::SOCK_ATTACHED | wire::SOCK_FLAG_FIN_RECEIVED,
        S::LastAck | S::Close => wire::SOCK_FLAG_DEAD | wire::SOCK_FLAG_FIN_RECEIVED,
        S::FinWait1 | S::FinWait2 => wire::SOCK_FLAG_DEAD,
        _ => 0,
    };
    (wire::fold_code(old as u8, new as u8), flags)
}

impl Life {
    /// Its record, where it leaves no other; the last step is at `at`.
    pub(super) fn folded(self, mix: Mix, at: Ts) -> Option<wire::FoldedRecord> {
        let connects = match self.role {
            Role::Client { stays: false } if mix == Mix::Folded => true,
            Role::Server { stays: false } if mix == Mix::Folded => false,
            _ => return None,
        };
        let call = |code| (code, 0);
        let steps = if connects {
            [
                step(S::Close, S::SynSent),
                call(wire::FOLD_CONNECT),
                step(S::SynSent, S::Established),
                call(wire::FOLD_CLOSE),
                step(S::Established, S::FinWait1),
                step(S::FinWait1, S::FinWait2),
                step(S::FinWait2, S::Close),
            ]
        } else {
            [
                step(S::Listen, S::SynRecv),
                step(S::SynRecv, S::Established),
                call(wire::FOLD_ACCEPT),
                step(S::Established, S::CloseWait),
                call(wire::FOLD_CLOSE),
                step(S::CloseWait, S::LastAck),
                step(S::LastAck, S::Close),
            ]
        };
        let mut record = wire::FoldedRecord::new_zeroed();
        record.state = self.state(at, if connects { S::FinWait2 } else { S::LastAck }, S::Close);
        record.state.kind = wire::KIND_FOLDED;
        record.state.len = u16::try_from(wire::FOLDED_RECORD_LEN).unwrap_or(0);
        record.count = u32::try_from(steps.len()).unwrap_or(0);
        let (pid, comm) = self.process();
        let caller = wire::FoldCaller {
            cgroup: 4_711,
            process_started_ns: 7_000_000_000,
            pid,
            tid: pid,
            comm,
        };
        record.callers = [caller; 2];
        let before = (0..steps.len() as u64).rev();
        for ((place, (code, sock_flags)), before) in record.steps.iter_mut().zip(steps).zip(before)
        {
            let time_ns = at.0.saturating_sub(before * PAUSE);
            let (error, shutdown, reserved) = (0, 0, 0);
            *place = wire::FoldStep { time_ns, error, code, sock_flags, shutdown, reserved };
        }
        Some(record)
    }
}
