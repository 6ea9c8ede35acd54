//! Which events a stream's filter lets through.
//!
//! A filter over connections asks what a connection *is*; an event is a change, with a before and
//! an after. So a change of state passes where either side of it does: `state=close_wait` shows
//! sockets entering and leaving `CLOSE_WAIT`, and with `older_than=60s` those that leave it after a
//! minute or more. The end of a connection, which carries the whole story, passes where any part of
//! the story does. Losses concern everybody.

use std::net::SocketAddr;

use crate::{
    api::{ClosedEvent, Connection, Endpoint, Event, StateEvent},
    core::query::Query,
};

/// Whether `event` is wanted.
pub(crate) fn passes(query: &Query, event: &Event) -> bool {
    match event {
        Event::Lost(_) => true,
        Event::State(event) => concerns(query, &event.connection) && change_passes(query, event),
        Event::Closed(event) => concerns(query, &event.connection) && story_passes(query, event),
    }
}

fn concerns(query: &Query, connection: &Connection) -> bool {
    let (local, remote) = (address(&connection.local), address(&connection.remote));
    let owner = connection.owner.as_ref();
    query.local.is_none_or(|filter| filter.matches(&local))
        && query.remote.is_none_or(|filter| filter.matches(&remote))
        && query.port.is_none_or(|port| [local.port(), remote.port()].contains(&port))
        && query.netns.is_none_or(|netns| connection.netns == Some(netns))
        && query.pid.is_none_or(|pid| owner.is_some_and(|owner| owner.pid == pid))
        && query.process.as_ref().is_none_or(|name| owner.is_some_and(|owner| owner.comm == *name))
}

fn address(end: &Endpoint) -> SocketAddr {
    SocketAddr::new(end.addr, end.port)
}

fn change_passes(query: &Query, event: &StateEvent) -> bool {
    stood(query, &event.from, event.in_state_seconds) || stood(query, &event.to, Some(0.0))
}

fn story_passes(query: &Query, event: &ClosedEvent) -> bool {
    let steps = event.connection.timeline.iter().flatten();
    let mut since_us = 0;
    let mut any = stood(query, &event.connection.state, Some(0.0));
    for (step, from) in steps.filter_map(|step| Some((step, step.from.as_ref()?))) {
        let micros = step.offset_us.saturating_sub(since_us);
        since_us = step.offset_us;
        #[expect(clippy::cast_precision_loss, reason = "off by a microsecond after centuries")]
        let seconds = micros as f64 / 1e6;
        any |= stood(query, from, Some(seconds));
    }
    any
}

/// Whether having stood in `state` for `seconds` (where known) is what the filter asks for.
fn stood(query: &Query, state: &str, seconds: Option<f64>) -> bool {
    (query.states.is_empty() || query.states.iter().any(|wanted| wanted.name() == state))
        && query
            .older_than
            .is_none_or(|age| seconds.is_some_and(|seconds| seconds >= age.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{fake, filter::FilterArgs};

    fn wanted(filter: &str, event: &Event) -> bool {
        passes(&FilterArgs::from_query_string(filter).unwrap().to_query().unwrap(), event)
    }

    #[test]
    fn a_change_passes_on_either_side() {
        let event = fake::state_event("close_wait", "last_ack", Some(75.0));
        for filter in ["", "state=close_wait", "state=last_ack", "older_than=60s", "pid=2207"] {
            assert!(wanted(filter, &event), "{filter}");
        }
        assert!(wanted("state=close_wait&older_than=60s", &event));
        assert!(!wanted("state=last_ack&older_than=60s", &event));
        assert!(!wanted("state=close_wait&older_than=76s", &event));
        assert!(!wanted("state=established", &event));
        let unknown = fake::state_event("close_wait", "last_ack", None);
        assert!(!wanted("state=close_wait&older_than=60s", &unknown));
    }

    #[test]
    fn the_ends_and_the_owner_must_fit() {
        let event = fake::state_event("established", "close_wait", Some(1.0));
        for filter in [
            "process=java",
            "local=10.0.0.4",
            "remote=198.51.100.0/24",
            "port=8080",
            "netns=4026531840",
        ] {
            assert!(wanted(filter, &event), "{filter}");
        }
        for filter in ["process=jav", "local=10.0.0.5", "remote=:1", "port=81", "netns=1", "pid=1"]
        {
            assert!(!wanted(filter, &event), "{filter}");
        }
    }

    #[test]
    fn an_end_passes_on_any_part_of_its_story() {
        let event = fake::closed_event();
        for filter in ["state=close_wait&older_than=60s", "state=close", "state=established"] {
            assert!(wanted(filter, &event), "{filter}");
        }
        assert!(!wanted("state=established&older_than=60s", &event));
        assert!(!wanted("state=fin_wait1", &event));
    }

    #[test]
    fn a_loss_is_everybody_s() {
        assert!(wanted("pid=1&state=listen", &fake::lost_event()));
    }
}
