//! Stacks, which are told some time after the call that they were taken at.

use super::{Outcome, Table, ending::Held};
use crate::core::{
    connection::Connection,
    event::SocketId,
    stack::{StackEvent, Stacks},
};

/// Closed connections that are looked through, latest first: a stack comes within moments.
const CLOSED: usize = 1024;

impl Table {
    /// The stacks of its connections.
    #[must_use]
    pub fn stacks(&self) -> &Stacks {
        &self.stacks
    }

    /// Likewise, to say whether they are asked for.
    pub fn stacks_mut(&mut self) -> &mut Stacks {
        &mut self.stacks
    }

    pub(super) fn stack_told(&mut self, news: &StackEvent) -> Outcome {
        let id = self.stacks.keep(&news.stack);
        let live = self.locate(news.socket).and_then(|slot| self.live.get_mut(slot));
        let live = live.filter(|known| known.opened_at <= news.called);
        let held = self.held.iter_mut().map(Held::connection_mut);
        let over = || held.chain(self.closed.iter_mut().rev().take(CLOSED));
        match live.or_else(|| over().find(|known| is_of(known, news))) {
            Some(known) => known.stack = Some(id),
            None => self.stacks.stranger(),
        }
        Outcome::Nothing
    }
}

/// Whether the call was made on this very connection, which has ended since.
fn is_of(known: &Connection, news: &StackEvent) -> bool {
    let SocketId { cookie, sk } = known.socket;
    let named = match (news.socket.cookie, cookie) {
        (Some(theirs), Some(own)) => theirs == own,
        _ => sk != 0 && sk == news.socket.sk,
    };
    named && known.opened_at <= news.called && known.last_event >= news.called
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::scene::Scene, *};
    use crate::core::{
        clock::Ts,
        event::Body,
        stack::{Frame, Stack, StackCall},
        tcp_state::TcpState as S,
    };

    fn news(scene: &Scene, called: u64, function: &str) -> Body {
        let frame = Frame { function: Some(function.to_owned()), ..Frame::default() };
        let stack = Stack { call: StackCall::Connect, frames: Ok(vec![frame]), cut: false };
        let socket = SocketId { cookie: None, sk: scene.sk };
        Body::Stack(StackEvent { socket, called: Ts(called * 1000), stack: Arc::new(stack) })
    }

    fn told(scene: &Scene, known: &Connection) -> Option<String> {
        let headline = scene.table.stacks().headline(known.stack?);
        headline.map(|(_, text)| text.to_string())
    }

    #[test]
    fn a_stack_comes_to_its_connection_while_it_lasts() {
        let mut scene = Scene::client();
        scene.state(10, S::Close, S::SynSent);
        scene.put(50, news(&scene, 10, "buy"));
        assert_eq!(told(&scene, scene.connection()).as_deref(), Some("buy"));
        assert_eq!(scene.table.stacks().strangers(), 0);
    }

    #[test]
    fn one_that_comes_late_finds_the_closed_connection_and_not_the_next_at_its_address() {
        let mut scene = Scene::client();
        scene.state(10, S::Close, S::SynSent).state(11, S::SynSent, S::Close);
        scene.state(20, S::Close, S::SynSent);
        scene.put(50, news(&scene, 10, "first"));
        scene.put(51, news(&scene, 20, "second"));
        let (live, closed) = (scene.table.live().next(), scene.table.closed().next());
        let told = |known: Option<&Connection>| told(&scene, known.unwrap());
        assert_eq!(told(live).as_deref(), Some("second"));
        assert_eq!(told(closed).as_deref(), Some("first"));
    }

    #[test]
    fn one_of_nobody_is_counted() {
        let mut scene = Scene::client();
        scene.state(10, S::Close, S::SynSent);
        scene.put(50, news(&scene, 9, "before it"));
        scene.another();
        scene.put(51, news(&scene, 12, "elsewhere"));
        assert_eq!(scene.connection().stack, None);
        assert_eq!(scene.table.stacks().strangers(), 2);
    }
}
