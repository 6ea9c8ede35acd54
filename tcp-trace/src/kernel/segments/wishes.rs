//! What the user asks for: interfaces by name, and XDP on some of them.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use thiserror::Error;

/// `IFNAMSIZ`, less the NUL at the end.
const NAME_LIMIT: usize = 15;

/// What the user asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Interfaces in place of `lo` and those with a default route.
    pub interfaces: Vec<InterfaceName>,
    /// Interfaces on which XDP is wanted, beside those; or is not.
    pub xdp: Vec<XdpWish>,
}

impl Wishes {
    /// Every interface named, each once; not those on which no more is wanted than to leave XDP.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let asked = self.xdp.iter().filter(|wish| wish.xdp != Xdp::Off);
        let new = asked.map(|wish| &wish.interface).filter(|name| !self.interfaces.contains(name));
        self.interfaces.iter().chain(new).map(|name| name.0.as_str())
    }

    /// How XDP is wanted on `interface`, where anything is said of it. The last word counts.
    pub(super) fn xdp(&self, interface: &str) -> Option<Xdp> {
        let wish = self.xdp.iter().rev().find(|wish| wish.interface.0 == interface);
        wish.map(|wish| wish.xdp)
    }
}

/// The name of a network interface: one that the kernel would take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct InterfaceName(pub String);

impl FromStr for InterfaceName {
    type Err = BadWish;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = !text.is_empty() && text.len() <= NAME_LIMIT && !matches!(text, "." | "..");
        let plain = !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(BadWish::Name(text.to_owned())) }
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = BadWish;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before there is an skb.
    Native,
    /// In the network stack.
    Generic,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// What is wanted of XDP on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// Native where the driver can, else generic.
    Best,
    /// In this way.
    As(XdpMode),
    /// None: TC looks instead.
    Off,
}

/// `--xdp IFACE[=native|generic|off]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct XdpWish {
    /// The interface.
    pub interface: InterfaceName,
    /// What is wanted there.
    pub xdp: Xdp,
}

impl FromStr for XdpWish {
    type Err = BadWish;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, xdp) = match text.split_once('=') {
            None => (text, Xdp::Best),
            Some((name, "native")) => (name, Xdp::As(XdpMode::Native)),
            Some((name, "generic")) => (name, Xdp::As(XdpMode::Generic)),
            Some((name, "off")) => (name, Xdp::Off),
            Some((_, mode)) => return Err(BadWish::Mode(mode.to_owned())),
        };
        Ok(Self { interface: name.parse()?, xdp })
    }
}

impl TryFrom<String> for XdpWish {
    type Error = BadWish;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Why a wish is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadWish {
    /// No interface can be called so.
    #[error(
        "'{0}' is no interface's name: these have 1 to {NAME_LIMIT} bytes, without blanks, '/' and ':'"
    )]
    Name(String),
    /// There is no such way.
    #[error("'{0}' is none of native, generic and off")]
    Mode(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xdp_is_wished_for_by_name_and_mode() {
        let wish = |text: &str| text.parse::<XdpWish>().map(|wish| (wish.interface.0, wish.xdp));
        let native = Xdp::As(XdpMode::Native);
        assert_eq!(wish("eth0"), Ok(("eth0".to_owned(), Xdp::Best)));
        assert_eq!(wish("eth0=native"), Ok(("eth0".to_owned(), native)));
        assert_eq!(wish("lo=generic"), Ok(("lo".to_owned(), Xdp::As(XdpMode::Generic))));
        assert_eq!(wish("lo=off"), Ok(("lo".to_owned(), Xdp::Off)));
        assert_eq!(wish("lo=fast"), Err(BadWish::Mode("fast".to_owned())));
        assert_eq!(wish("=native"), Err(BadWish::Name(String::new())));
        assert_eq!(wish(""), Err(BadWish::Name(String::new())));
    }

    #[test]
    fn a_name_is_one_that_the_kernel_would_take() {
        for good in ["lo", "eth0", "wlp0s20f3", "br-0f3c2d1e4a5b", "eth0.100", "…"] {
            assert!(good.parse::<InterfaceName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-ab"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_come_once_and_the_last_mode_counts() {
        let wishes = Wishes {
            interfaces: vec!["a".parse().unwrap(), "b".parse().unwrap()],
            xdp: ["b=native", "c", "b=generic", "d=off"].map(|text| text.parse().unwrap()).into(),
        };
        assert_eq!(wishes.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(wishes.xdp("b"), Some(Xdp::As(XdpMode::Generic)));
        assert_eq!(wishes.xdp("c"), Some(Xdp::Best));
        assert_eq!(wishes.xdp("d"), Some(Xdp::Off));
        assert_eq!(wishes.xdp("a"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_wish_or_a_reason(text in ".*") {
            if let Ok(wish) = text.parse::<XdpWish>() {
                prop_assert!(wish.interface.0.len() <= NAME_LIMIT);
            }
        }
    }
}
