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
    /// Interfaces on which XDP is wanted, beside those.
    pub xdp: Vec<XdpWish>,
}

impl Wishes {
    /// Every interface named, each once.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let in_xdp = self.xdp.iter().map(|wish| &wish.interface);
        let new = in_xdp.filter(|name| !self.interfaces.contains(name));
        self.interfaces.iter().chain(new).map(|name| name.0.as_str())
    }

    /// How XDP is wanted on `interface`, where it is. The last word counts.
    pub(super) fn xdp(&self, interface: &str) -> Option<&XdpWish> {
        self.xdp.iter().rev().find(|wish| wish.interface.0 == interface)
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

/// `--xdp IFACE[=native|generic]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct XdpWish {
    /// The interface.
    pub interface: InterfaceName,
    /// `None`: native where the driver can, else generic.
    pub mode: Option<XdpMode>,
}

impl FromStr for XdpWish {
    type Err = BadWish;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, mode) = match text.split_once('=') {
            None => (text, None),
            Some((name, "native")) => (name, Some(XdpMode::Native)),
            Some((name, "generic")) => (name, Some(XdpMode::Generic)),
            Some((_, mode)) => return Err(BadWish::Mode(mode.to_owned())),
        };
        Ok(Self { interface: name.parse()?, mode })
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
    #[error("'{0}' is neither native nor generic")]
    Mode(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xdp_is_wished_for_by_name_and_mode() {
        let wish = |text: &str| text.parse::<XdpWish>().map(|wish| (wish.interface.0, wish.mode));
        assert_eq!(wish("eth0"), Ok(("eth0".to_owned(), None)));
        assert_eq!(wish("eth0=native"), Ok(("eth0".to_owned(), Some(XdpMode::Native))));
        assert_eq!(wish("lo=generic"), Ok(("lo".to_owned(), Some(XdpMode::Generic))));
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
            xdp: ["b=native", "c", "b=generic"].map(|text| text.parse().unwrap()).into(),
        };
        assert_eq!(wishes.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(wishes.xdp("b").map(|wish| wish.mode), Some(Some(XdpMode::Generic)));
        assert_eq!(wishes.xdp("c").map(|wish| wish.mode), Some(None));
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
