//! How far the scene has come: from what the players report and what the diagnosis says. Pure.

use std::time::Duration;

use super::{
    cue::Report,
    judge::{Facts, Judgement},
    role::Role,
    scene,
};
use crate::api::Diagnosis;

/// How far it has come; every moment is counted from the beginning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    /// When it was foretold that the ports run out.
    foretold: Option<Duration>,
    /// When `connect()` first failed.
    failed: Option<Duration>,
    failures: u64,
    replaced: u64,
    ready: Vec<Role>,
    begun: Vec<Role>,
    stopped: Vec<Role>,
}

/// Something that is worth a word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum News {
    /// It is foretold that the ports run out in so many seconds.
    Foretold(f64),
    /// `connect()` has found no port.
    NoPort,
}

impl Course {
    /// Takes a player's report.
    ///
    /// # Errors
    /// Where it cannot go on; why, in words.
    pub(crate) fn take(
        &mut self,
        role: Role,
        report: Report,
        at: Duration,
    ) -> Result<Option<News>, String> {
        match report {
            Report::Ready => self.ready.push(role),
            Report::Begun => self.begun.push(role),
            Report::Stopped => self.stopped.push(role),
            Report::Replaced(count) => self.replaced = count,
            Report::Failed(why) => return Err(format!("{role} cannot play its part: {why}")),
            Report::NoPort(count) => {
                self.failures = count;
                if self.failed.is_none() {
                    self.failed = Some(at);
                    return Ok(Some(News::NoPort));
                }
            }
        }
        Ok(None)
    }

    /// Takes a diagnosis.
    pub(crate) fn look(&mut self, told: &Diagnosis, at: Duration) -> Option<News> {
        if self.foretold.is_some() || self.failed.is_some() {
            return None;
        }
        let of_client = |found: &&crate::api::Finding| {
            let name = found.process.as_ref().map(|owner| owner.comm.as_str());
            found.kind == "port_pressure" && name == Some(Role::Pricing.name())
        };
        let found = told.findings.iter().find(of_client)?;
        let left = found.exhaustion.as_ref().and_then(|bound| bound.seconds_left)?;
        self.foretold = Some(at);
        Some(News::Foretold(left))
    }

    /// Whether everybody is there.
    pub(crate) fn are_ready(&self) -> bool {
        Role::ALL.iter().all(|role| self.ready.contains(role))
    }

    /// Whether every server listens.
    pub(crate) fn do_servers_listen(&self) -> bool {
        Role::ALL.iter().filter(|role| role.is_server()).all(|role| self.begun.contains(role))
    }

    /// Whether every client has stopped.
    pub(crate) fn have_clients_stopped(&self) -> bool {
        Role::ALL.iter().filter(|role| !role.is_server()).all(|role| self.stopped.contains(role))
    }

    /// What the scene itself knows.
    pub(crate) fn facts(&self) -> Facts {
        let foretold = self.foretold.zip(self.failed);
        Facts {
            foretold_seconds: foretold.map(|(told, came)| came.saturating_sub(told).as_secs_f64()),
            failures: self.failures,
            replaced: self.replaced,
        }
    }

    /// Whether enough has happened and been found to end it.
    pub(crate) fn is_complete(&self, told: &Diagnosis) -> bool {
        let enough = self.failures >= scene::FAILURES && self.replaced >= scene::REPLACED;
        enough && Judgement::of(told, self.facts()).is_good()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::Exhaustion,
        demo::judge::tests::{FACTS, complete},
    };

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A diagnosis that foretells it.
    fn foretelling() -> Diagnosis {
        let mut told = complete();
        let exhaustion = Exhaustion {
            of: "local ports".to_owned(),
            used: 200,
            limit: 400,
            seconds_left: Some(7.0),
        };
        told.findings[3].exhaustion = Some(exhaustion);
        told
    }

    #[test]
    fn it_is_complete_once_all_has_happened_and_been_found() {
        let mut course = Course::default();
        assert_eq!(course.look(&complete(), s(4)), None);
        assert_eq!(course.look(&foretelling(), s(5)), Some(News::Foretold(7.0)));
        assert_eq!(course.look(&foretelling(), s(6)), None, "it is said once");
        let mut take = |report, at| course.take(Role::Pricing, report, at).unwrap();
        assert_eq!(take(Report::NoPort(1), s(13)), Some(News::NoPort));
        assert_eq!(take(Report::NoPort(10), s(15)), None);
        assert!(!course.is_complete(&complete()), "the pool has not come round");
        course.take(Role::Orders, Report::Replaced(scene::REPLACED), s(16)).unwrap();
        assert!(course.is_complete(&complete()));
        assert_eq!(course.facts(), Facts { foretold_seconds: Some(8.0), replaced: 6, ..FACTS });
    }

    #[test]
    fn what_is_told_afterwards_was_not_foretold() {
        let mut course = Course::default();
        course.take(Role::Pricing, Report::NoPort(1), s(3)).unwrap();
        assert_eq!(course.look(&foretelling(), s(4)), None);
        assert_eq!(course.facts().foretold_seconds, None);
    }

    #[test]
    fn everybody_is_waited_for() {
        let mut course = Course::default();
        for role in Role::ALL {
            assert!(!course.are_ready());
            course.take(role, Report::Ready, s(0)).unwrap();
        }
        assert!(course.are_ready() && !course.do_servers_listen());
        for role in Role::ALL {
            let report = if role.is_server() { Report::Begun } else { Report::Stopped };
            assert!(!(course.do_servers_listen() && course.have_clients_stopped()));
            course.take(role, report, s(1)).unwrap();
        }
        assert!(course.do_servers_listen() && course.have_clients_stopped());
        let failed = Report::Failed("no such thing".to_owned());
        let why = course.take(Role::ShopApi, failed, s(2)).unwrap_err();
        assert_eq!(why, "shop-api cannot play its part: no such thing");
    }
}
