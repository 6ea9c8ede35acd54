//! Address filters: `10.0.0.0/8:443`, `[2001:db8::]/32`, `127.0.0.1`, `:8080`, `8080`.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use thiserror::Error;

/// Addresses and ports to let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressFilter {
    net: Option<IpNet>,
    port: Option<u16>,
}

/// Text that is no address filter.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "'{0}' is no address filter; write 10.0.0.1, 10.0.0.0/8, 10.0.0.0/8:443, [2001:db8::]/32, [::1]:443, :443 or 443"
)]
pub struct BadFilter(pub String);

impl AddressFilter {
    /// Whether `address` passes.
    #[must_use]
    pub fn matches(&self, address: &SocketAddr) -> bool {
        self.net.is_none_or(|net| net.contains(&address.ip()))
            && self.port.is_none_or(|port| port == address.port())
    }
}

impl FromStr for AddressFilter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).ok_or_else(|| BadFilter(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<AddressFilter> {
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Some(AddressFilter { net: None, port: Some(port) });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let (prefix, port) = match rest.rsplit_once(':') {
            Some((prefix, port)) => (prefix, Some(port.parse().ok()?)),
            None => (rest, None),
        };
        return Some(AddressFilter { net: Some(net(address, prefix)?), port });
    }
    // A bare IPv6 address has colons of its own and so takes no port.
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(AddressFilter { net: Some(IpNet::from(address)), port: None });
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(AddressFilter { net: Some(net), port: None });
    }
    let (address, port) = text.rsplit_once(':')?;
    let (address, prefix) = match address.split_once('/') {
        Some((address, _)) => (address, address_prefix(text)?),
        None => (address, ""),
    };
    if address.contains(':') {
        return None;
    }
    Some(AddressFilter { net: Some(net(address, prefix)?), port: Some(port.parse().ok()?) })
}

/// `/8` of `10.0.0.0/8:443`.
fn address_prefix(text: &str) -> Option<&str> {
    let (address, _) = text.rsplit_once(':')?;
    address.find('/').and_then(|slash| address.get(slash..))
}

/// `address` with a prefix length written as `/8`, or none.
fn net(address: &str, prefix: &str) -> Option<IpNet> {
    let address: IpAddr = address.parse().ok()?;
    match prefix {
        "" => Some(IpNet::from(address)),
        prefix => IpNet::new(address, prefix.strip_prefix('/')?.parse().ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_matches_what_it_says() {
        let rows = [
            ("8080", "1.2.3.4:8080", "1.2.3.4:80"),
            (":8080", "[::1]:8080", "[::1]:80"),
            ("10.0.0.1", "10.0.0.1:1", "10.0.0.2:1"),
            ("10.0.0.0/8", "10.9.9.9:1", "11.0.0.1:1"),
            ("10.0.0.0/8:443", "10.9.9.9:443", "10.9.9.9:444"),
            ("10.0.0.1:443", "10.0.0.1:443", "10.0.0.2:443"),
            ("::1", "[::1]:5", "[::2]:5"),
            ("2001:db8::/32", "[2001:db8::9]:5", "[2001:db9::9]:5"),
            ("[2001:db8::]/32", "[2001:db8::9]:5", "[2001:db9::9]:5"),
            ("[2001:db8::]/32:443", "[2001:db8::9]:443", "[2001:db8::9]:5"),
            ("[::1]:443", "[::1]:443", "[::1]:444"),
        ];
        for (text, passes, fails) in rows {
            let filter: AddressFilter = text.parse().unwrap();
            assert!(filter.matches(&passes.parse().unwrap()), "{text} {passes}");
            assert!(!filter.matches(&fails.parse().unwrap()), "{text} {fails}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "70000",
            "10.0.0.1:",
            "10.0.0.0/33",
            "[::1",
            "[::1]443",
            "a.b",
            "::1:x",
            "1.2.3.4/8/9:1",
        ] {
            assert!(text.parse::<AddressFilter>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "\\PC*") {
            let _ = text.parse::<AddressFilter>();
        }
    }
}
