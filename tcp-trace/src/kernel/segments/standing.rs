//! How the packet programs stand, as `status` and `doctor` tell it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kernel::plan::Degradation;

/// How the packet programs stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether segments are looked at.
    pub on: bool,
    /// Why they are not.
    pub reason: Option<String>,
    /// Whether the lack of them is the host's doing, not the user's.
    pub refused: bool,
    /// Inode of the network namespace whose interfaces these are.
    pub netns: Option<u32>,
    /// The interfaces that are wanted, by index.
    pub interfaces: Vec<InterfaceStanding>,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStanding {
    /// Its name.
    pub name: String,
    /// Its index; 0 where there is no such interface.
    pub index: u32,
    /// What sees segments come in.
    pub ingress: Option<Way>,
    /// What sees segments go out.
    pub egress: Option<Way>,
    /// Why this way.
    pub why: String,
    /// What was refused, and by whom; empty where nothing was.
    pub refusals: Vec<String>,
    /// Names of the programs attached.
    #[serde(skip)]
    pub(crate) programs: Vec<&'static str>,
}

/// How a program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the network stack.
    XdpGeneric,
    /// TC, by a link (6.6).
    Tcx,
    /// TC, by a filter of a clsact qdisc.
    Clsact,
}

impl Way {
    /// All.
    pub const ALL: [Self; 4] = [Self::XdpNative, Self::XdpGeneric, Self::Tcx, Self::Clsact];

    /// Name in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp_native",
            Self::XdpGeneric => "xdp_generic",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    /// Whether it is XDP.
    #[must_use]
    pub const fn is_xdp(self) -> bool {
        matches!(self, Self::XdpNative | Self::XdpGeneric)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::XdpNative => "XDP native",
            Self::XdpGeneric => "XDP generic",
            Self::Tcx => "TC",
            Self::Clsact => "TC (clsact)",
        })
    }
}

impl Standing {
    /// Nothing is attached, because the user wants nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { reason: Some("--segments off".to_owned()), ..Self::default() }
    }

    /// Nothing is attached, because it cannot be.
    #[must_use]
    pub fn impossible(reason: String) -> Self {
        Self { reason: Some(reason), refused: true, ..Self::default() }
    }

    /// Whether a program of this name is attached anywhere.
    pub(crate) fn is_attached(&self, program: &str) -> bool {
        self.interfaces.iter().any(|row| row.programs.contains(&program))
    }

    /// Why a program of this name is not attached.
    pub(crate) fn why_not(&self, program: &str) -> String {
        let said = |row: &InterfaceStanding| {
            row.refusals.iter().find(|why| why.contains(program)).cloned()
        };
        let said = self.interfaces.iter().find_map(said);
        let otherwise =
            || self.reason.clone().unwrap_or_else(|| "no interface needs it".to_owned());
        said.unwrap_or_else(otherwise)
    }

    /// What is given up.
    #[must_use]
    pub fn degradations(&self) -> Vec<Degradation> {
        let note = |reason: &str, effect: &str| Degradation {
            feature: "segments".to_owned(),
            reason: reason.to_owned(),
            effect: effect.to_owned(),
        };
        let off = self.reason.iter().filter(|_| self.refused);
        let off = off.map(|reason| note(reason, &format!("lost: {}", super::LOSES)));
        let rows = self.interfaces.iter().filter(|row| !row.is_whole());
        off.chain(rows.map(|row| note(&row.refusal(), &format!("lost: {}", row.loses())))).collect()
    }
}

impl InterfaceStanding {
    /// Whether segments are seen in both directions.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ingress.is_some() && self.egress.is_some()
    }

    /// What was refused, with the interface's name.
    #[must_use]
    pub fn refusal(&self) -> String {
        let why =
            if self.refusals.is_empty() { self.why.clone() } else { self.refusals.join("; ") };
        format!("{}: {why}", self.name)
    }

    /// Why this way, after what was refused before it.
    #[must_use]
    pub fn story(&self) -> String {
        let refusals = self.refusals.iter().map(String::as_str);
        refusals.chain([self.why.as_str()]).collect::<Vec<_>>().join("; ")
    }

    /// What is not seen.
    #[must_use]
    pub fn loses(&self) -> String {
        match (self.ingress, self.egress) {
            (None, None) => format!("the segments of {}", self.name),
            (None, Some(_)) => format!("segments that come in by {}", self.name),
            (Some(_), None) => format!("segments that go out by {}", self.name),
            (Some(_), Some(_)) => "nothing".to_owned(),
        }
    }

    /// The ways in and out in a few words: `XDP generic in, TC out`.
    #[must_use]
    pub fn ways(&self) -> String {
        match (self.ingress, self.egress) {
            (None, None) => "not seen".to_owned(),
            (Some(ingress), None) => format!("{ingress} in, nothing out"),
            (None, Some(egress)) => format!("nothing in, {egress} out"),
            (Some(ingress), Some(egress)) if ingress == egress => egress.to_string(),
            (Some(ingress), Some(egress)) => format!("{ingress} in, {egress} out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ingress: Option<Way>, egress: Option<Way>) -> InterfaceStanding {
        InterfaceStanding {
            name: "eth0".to_owned(),
            index: 2,
            ingress,
            egress,
            why: "a card".to_owned(),
            refusals: vec!["TC egress: EPERM".to_owned()],
            programs: Vec::new(),
        }
    }

    #[test]
    fn only_what_the_host_refuses_is_a_degradation() {
        assert_eq!(Standing::off().degradations(), []);
        let impossible = Standing::impossible("no right".to_owned()).degradations();
        assert_eq!(impossible.len(), 1);
        assert_eq!(impossible[0].reason, "no right");
        let half = Standing {
            on: true,
            interfaces: vec![row(Some(Way::XdpGeneric), Some(Way::Tcx)), row(Some(Way::Tcx), None)],
            ..Standing::default()
        };
        let given_up = half.degradations();
        assert_eq!(given_up.len(), 1);
        assert_eq!(given_up[0].reason, "eth0: TC egress: EPERM");
        assert_eq!(given_up[0].effect, "lost: segments that go out by eth0");
    }

    #[test]
    fn ways_are_told_in_a_few_words() {
        let ways = |ingress, egress| row(ingress, egress).ways();
        assert_eq!(ways(Some(Way::XdpGeneric), Some(Way::Tcx)), "XDP generic in, TC out");
        assert_eq!(ways(Some(Way::Tcx), Some(Way::Tcx)), "TC");
        assert_eq!(ways(Some(Way::Clsact), Some(Way::Clsact)), "TC (clsact)");
        assert_eq!(ways(None, None), "not seen");
        assert_eq!(ways(Some(Way::XdpNative), None), "XDP native in, nothing out");
    }

    #[test]
    fn names_in_the_api_are_the_ways_names() {
        for way in Way::ALL {
            assert_eq!(serde_json::to_value(way).unwrap(), way.name());
        }
    }
}
