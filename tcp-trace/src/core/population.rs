//! How many sockets stand in each state: exact, whatever the buffers lost.
//!
//! The table knows every connection whose events arrived; the kernel's transition matrix knows
//! every change, arrived or not. What the matrix has and the table has not applied is in flight or
//! lost, and moves the gauges all the same: `gauge = table + effect(matrix - applied)`. The same
//! holds for mini-sockets, of which the kernel counts births and ends.

use tcp_trace_common::{COUNTER_TRANSITIONS, STATE_SLOTS, transition_slot};

use super::{tcp_state::TcpState, time_wait::TimeWaitCounters};

const CELLS: usize = STATE_SLOTS * STATE_SLOTS;

/// The kernel's count of every transition, summed over the CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix([u64; CELLS]);

impl Default for Matrix {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

impl Matrix {
    /// From the head of the counter block.
    #[must_use]
    pub fn from_counters(counters: &[u64]) -> Self {
        let mut matrix = Self::default();
        for (cell, count) in matrix.0.iter_mut().zip(counters.iter().skip(COUNTER_TRANSITIONS)) {
            *cell = *count;
        }
        matrix
    }

    /// How often `old` became `new`.
    #[must_use]
    pub fn get(&self, old: TcpState, new: TcpState) -> u64 {
        self.0.get(cell(old, new)).copied().unwrap_or(0)
    }

    /// Counts one transition.
    pub fn raise(&mut self, old: TcpState, new: TcpState) {
        if let Some(count) = self.0.get_mut(cell(old, new)) {
            *count += 1;
        }
    }

    /// All transitions together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every pair of states with its count, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (TcpState, TcpState, u64)> + '_ {
        TcpState::ALL.into_iter().flat_map(move |old| {
            TcpState::ALL.into_iter().map(move |new| (old, new, self.get(old, new)))
        })
    }
}

fn cell(old: TcpState, new: TcpState) -> usize {
    transition_slot(old.index(), new.index()) - COUNTER_TRANSITIONS
}

/// What the table holds and has applied.
#[derive(Clone, Debug, Default)]
pub struct Population {
    held: [u64; 13],
    applied: Matrix,
    minis: [u64; 2],
    minis_applied: [i64; 2],
}

/// Place of a substate among the figures of mini-sockets.
fn place(substate: TcpState) -> usize {
    usize::from(substate != TcpState::FinWait2)
}

impl Population {
    /// A connection entered the table in `state`.
    pub fn enter(&mut self, state: TcpState) {
        if let Some(count) = self.held.get_mut(state.index()) {
            *count += 1;
        }
    }

    /// A connection left `state` in the table.
    pub fn leave(&mut self, state: TcpState) {
        if let Some(count) = self.held.get_mut(state.index()) {
            *count = count.saturating_sub(1);
        }
    }

    /// The table has taken this change into account, seen or inferred.
    pub fn applied(&mut self, old: TcpState, new: TcpState) {
        self.applied.raise(old, new);
    }

    /// A mini-socket entered the table in `substate`.
    pub fn enter_mini(&mut self, substate: TcpState) {
        if let Some(count) = self.minis.get_mut(place(substate)) {
            *count += 1;
        }
    }

    /// A mini-socket left `substate` in the table.
    pub fn leave_mini(&mut self, substate: TcpState) {
        if let Some(count) = self.minis.get_mut(place(substate)) {
            *count = count.saturating_sub(1);
        }
    }

    /// The table has taken into account that a mini-socket went `from` one substate `to` another;
    /// `None` is before its birth and after its end.
    pub fn applied_mini(&mut self, from: Option<TcpState>, to: Option<TcpState>) {
        for (substate, step) in [(from, -1), (to, 1)] {
            let net = substate.and_then(|substate| self.minis_applied.get_mut(place(substate)));
            if let Some(net) = net {
                *net = net.saturating_add(step);
            }
        }
    }

    /// Mini-sockets in the table in `substate`.
    #[must_use]
    pub fn minis(&self, substate: TcpState) -> u64 {
        self.minis.get(place(substate)).copied().unwrap_or(0)
    }

    /// Changes the table has taken into account.
    #[must_use]
    pub fn applied_matrix(&self) -> &Matrix {
        &self.applied
    }

    /// Full sockets in the table by [`TcpState::index`].
    #[must_use]
    pub fn held(&self) -> &[u64; 13] {
        &self.held
    }

    /// Sockets in each state by [`TcpState::index`], given the kernel's own count of changes and,
    /// where it keeps one, of mini-sockets. Without, those in the table stand for themselves.
    ///
    /// CLOSE is no place to be counted in: it holds sockets that never were connections.
    #[must_use]
    pub fn gauges(&self, kernel: &Matrix, minis: Option<&TimeWaitCounters>) -> [u64; 13] {
        let mut sum = [0i64; 13];
        for (sum, held) in sum.iter_mut().zip(self.held) {
            *sum = i64::try_from(held).unwrap_or(i64::MAX);
        }
        for (old, new, count) in kernel.iter() {
            if old == new {
                continue;
            }
            let missing = i64::try_from(count)
                .unwrap_or(i64::MAX)
                .saturating_sub(i64::try_from(self.applied.get(old, new)).unwrap_or(i64::MAX));
            // A child's birth leaves its listener where it was.
            let leaves = (old, new) != (TcpState::Listen, TcpState::SynRecv);
            for (state, step) in [(old, if leaves { -missing } else { 0 }), (new, missing)] {
                if let Some(sum) = sum.get_mut(state.index()).filter(|_| state != TcpState::Close) {
                    *sum = sum.saturating_add(step);
                }
            }
        }
        let mut gauges = sum.map(|count| u64::try_from(count).unwrap_or(0));
        for substate in [TcpState::FinWait2, TcpState::TimeWait] {
            if let Some(gauge) = gauges.get_mut(substate.index()) {
                *gauge = gauge.saturating_add(self.mini_gauge(substate, minis));
            }
        }
        gauges
    }

    fn mini_gauge(&self, substate: TcpState, kernel: Option<&TimeWaitCounters>) -> u64 {
        let held = self.minis(substate);
        let applied = self.minis_applied.get(place(substate)).copied().unwrap_or(0);
        let missing = kernel.map_or(0, |kernel| kernel.net(substate).saturating_sub(applied));
        held.saturating_add_signed(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcpState as S;

    #[test]
    fn what_is_in_flight_counts_already() {
        let mut population = Population::default();
        let mut kernel = Matrix::default();
        population.enter(S::Established);
        kernel.raise(S::Established, S::CloseWait);
        let gauges = population.gauges(&kernel, None);
        assert_eq!((gauges[S::Established.index()], gauges[S::CloseWait.index()]), (0, 1));

        population.leave(S::Established);
        population.enter(S::CloseWait);
        population.applied(S::Established, S::CloseWait);
        assert_eq!(population.gauges(&kernel, None), gauges);
    }

    #[test]
    fn a_birth_does_not_take_from_its_listener() {
        let mut population = Population::default();
        let mut kernel = Matrix::default();
        population.enter(S::Listen);
        kernel.raise(S::Listen, S::SynRecv);
        let gauges = population.gauges(&kernel, None);
        assert_eq!((gauges[S::Listen.index()], gauges[S::SynRecv.index()]), (1, 1));
    }

    #[test]
    fn close_holds_nobody() {
        let mut kernel = Matrix::default();
        kernel.raise(S::LastAck, S::Close);
        assert_eq!(Population::default().gauges(&kernel, None), [0; 13]);
    }

    #[test]
    fn mini_sockets_count_with_their_substate_in_flight_too() {
        let mut population = Population::default();
        let mut counters = TimeWaitCounters { born_fin_wait2: 1, ..TimeWaitCounters::default() };
        let gauges = |population: &Population, counters: &TimeWaitCounters| {
            let gauges = population.gauges(&Matrix::default(), Some(counters));
            (gauges[S::FinWait2.index()], gauges[S::TimeWait.index()])
        };
        assert_eq!(gauges(&population, &counters), (1, 0));
        population.enter_mini(S::FinWait2);
        population.applied_mini(None, Some(S::FinWait2));
        assert_eq!(gauges(&population, &counters), (1, 0));
        counters.substate = 1;
        assert_eq!(gauges(&population, &counters), (0, 1));
    }
}
