//! Who plays.

use std::{ffi::CStr, fmt, net::SocketAddr, str::FromStr};

/// A process of the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A server that answers, and forgets `close()`.
    ShopApi,
    /// A server that accepts, and stops reading.
    Reports,
    /// A server that stops accepting.
    LoginSvc,
    /// The healthy server behind the client that burns through ports.
    PriceDb,
    /// A client that opens a connection for each request, and closes it first.
    Pricing,
    /// The healthy server of the pool.
    OrderDb,
    /// A healthy keep-alive pool.
    Orders,
    /// Clients of the sick servers.
    Visitors,
}

impl Role {
    /// Everybody; servers before their clients.
    pub(crate) const ALL: [Self; 8] = [
        Self::ShopApi,
        Self::Reports,
        Self::LoginSvc,
        Self::PriceDb,
        Self::OrderDb,
        Self::Pricing,
        Self::Orders,
        Self::Visitors,
    ];

    /// As the kernel takes it for a process's name: at most 15 bytes.
    pub(crate) const fn comm(self) -> &'static CStr {
        match self {
            Self::ShopApi => c"shop-api",
            Self::Reports => c"reports",
            Self::LoginSvc => c"login-svc",
            Self::PriceDb => c"price-db",
            Self::Pricing => c"pricing",
            Self::OrderDb => c"order-db",
            Self::Orders => c"orders",
            Self::Visitors => c"visitors",
        }
    }

    /// Its process's name.
    pub(crate) fn name(self) -> &'static str {
        self.comm().to_str().unwrap_or_default()
    }

    /// Where it listens, or the server that it talks to listens; `None` of one that visits several.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        let port: u16 = match self {
            Self::ShopApi => 8080,
            Self::Reports => 8081,
            Self::LoginSvc => 8082,
            Self::PriceDb | Self::Pricing => 8083,
            Self::OrderDb | Self::Orders => 8084,
            Self::Visitors => return None,
        };
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Whether it listens.
    pub(crate) const fn is_server(self) -> bool {
        match self {
            Self::ShopApi | Self::Reports | Self::LoginSvc | Self::PriceDb | Self::OrderDb => true,
            Self::Pricing | Self::Orders | Self::Visitors => false,
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::named(text).ok_or_else(|| format!("nobody in the scene is called '{text}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_name_that_the_kernel_takes() {
        for role in Role::ALL {
            assert!((1..16).contains(&role.name().len()), "{role:?}");
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert!("nobody".parse::<Role>().is_err());
    }

    #[test]
    fn visits_take_too_few_ports_to_be_worth_a_finding() {
        use crate::demo::scene::{PORT_COUNT, VISITS};
        assert!(VISITS * 4 < u32::from(PORT_COUNT));
    }

    #[test]
    fn servers_listen_outside_the_ports_that_run_out() {
        use crate::demo::scene::PORTS;
        for role in Role::ALL.into_iter().filter(|role| role.is_server()) {
            let port = role.address().unwrap().port();
            assert!(!(PORTS.0..=PORTS.1).contains(&port));
            let others = Role::ALL.into_iter().filter(|other| other.is_server() && *other != role);
            assert!(others.filter_map(Role::address).all(|other| other.port() != port));
        }
    }
}
