//! Which of the events are worth a line: a few of each player that matters. Pure.

use super::role::Role;
use crate::api::{Event, StateEvent};

/// Lines of one connection.
const LINES: usize = 3;

/// Those whose events are shown.
const SHOWN: [Role; 5] =
    [Role::ShopApi, Role::Reports, Role::LoginSvc, Role::Pricing, Role::Orders];

/// Follows one connection of each, and the first that finds no port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excerpt {
    followed: Vec<(Role, String, usize)>,
    no_port: bool,
    left_out: u64,
}

impl Excerpt {
    /// The change, if it is worth a line.
    pub(crate) fn take<'a>(&mut self, event: &'a Event) -> Option<&'a StateEvent> {
        let Event::State(change) = event else { return None };
        let wanted = self.wants(change);
        self.left_out += u64::from(!wanted);
        wanted.then_some(change)
    }

    /// How many changes were not.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn wants(&mut self, change: &StateEvent) -> bool {
        let connection = &change.connection;
        let owner = connection.owner.as_ref();
        let role = owner.and_then(|owner| Role::named(&owner.comm));
        let Some(role) = role.filter(|role| SHOWN.contains(role)) else { return false };
        if connection.error.as_deref() == Some("EADDRNOTAVAIL") {
            return !std::mem::replace(&mut self.no_port, true);
        }
        if let Some((_, id, lines)) = self.followed.iter_mut().find(|(known, ..)| *known == role) {
            let same = *id == connection.id && *lines < LINES;
            *lines += usize::from(same);
            return same;
        }
        if change.to != "established" {
            return false;
        }
        self.followed.push((role, connection.id.clone(), 1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::fixtures::{change, java, owner};

    /// A change of a connection of `name`'s.
    fn event(name: &str, id: &str, to: &str) -> Event {
        let owner = Some(owner(name, 7));
        let mut connection = java();
        (connection.id, connection.state, connection.owner) = (id.to_owned(), to.to_owned(), owner);
        Event::State(Box::new(change(connection, "close", None)))
    }

    #[test]
    fn one_connection_of_each_player_is_followed_for_a_few_lines() {
        let mut excerpt = Excerpt::default();
        let mut shown = |name, id, to| excerpt.take(&event(name, id, to)).is_some();
        assert!(!shown("shop-api", "1", "listen"));
        assert!(shown("shop-api", "2", "established"));
        assert!(!shown("shop-api", "3", "established"), "another one");
        assert!(!shown("pricing", "4", "syn_sent"), "of its beginning nothing is known yet");
        assert!(shown("pricing", "4", "established"));
        assert!(!shown("visitors", "5", "established"), "they matter to nobody");
        assert!(!shown("java", "6", "established"));
        for _ in 1..LINES {
            assert!(shown("shop-api", "2", "close_wait"));
        }
        assert!(!shown("shop-api", "2", "close_wait"));
        assert_eq!(excerpt.left_out(), 6);
    }

    #[test]
    fn the_first_that_finds_no_port_is_shown() {
        let mut excerpt = Excerpt::default();
        let mut failed = event("pricing", "9", "close");
        if let Event::State(change) = &mut failed {
            change.connection.error = Some("EADDRNOTAVAIL".to_owned());
        }
        assert!(excerpt.take(&failed).is_some());
        assert!(excerpt.take(&failed).is_none());
    }
}
