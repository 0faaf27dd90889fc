//! Where the processes of a shop listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use mainstay::BoxError;
use rand::RngExt;

use crate::config::Name;

/// From the port of a service to the port of its address for operators.
const ADMIN: u16 = 100;

/// Ports that systems do not give to outgoing connections. A connection would take the port of a
/// service that is down for a moment.
const FREE: std::ops::Range<u16> = 15_000..32_000;

/// The addresses of all services, on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(Vec<(Name, u16, u16)>);

impl Addresses {
    /// The addresses from this port on, or free ones for 0.
    ///
    /// # Errors
    ///
    /// In one sentence: a port is too large, or in use.
    pub fn from_base(base: u16) -> Result<Self, BoxError> {
        if base == 0 {
            return Self::free();
        }
        let most = u16::MAX - ADMIN - 7;
        if base > most {
            let text = format!("port = {base} is refused: must be 0, or at most {most}");
            return Err(text.into());
        }
        let ports = Name::ALL.map(|name| {
            let port = base + place(name);
            (name, port, port + ADMIN)
        });
        for (name, calls, admin) in ports {
            for port in [calls, admin] {
                if !is_free(port) {
                    let text = format!(
                        "port {port} for {name} is in use: stop the program that listens there, or \
                         choose other ports with --port"
                    );
                    return Err(text.into());
                }
            }
        }
        Ok(Self(ports.to_vec()))
    }

    fn free() -> Result<Self, BoxError> {
        let mut ports = Vec::new();
        // Random, so that two shops that start at once seldom want the same.
        for _ in 0..1_000 {
            if ports.len() == 2 * Name::ALL.len() {
                break;
            }
            let port = rand::rng().random_range(FREE);
            if !ports.contains(&port) && is_free(port) {
                ports.push(port);
            }
        }
        let (calls, admins) = ports.split_at(ports.len() / 2);
        let pairs = calls.iter().zip(admins);
        let all = Name::ALL.into_iter().zip(pairs);
        let all: Vec<_> = all
            .map(|(name, (calls, admin))| (name, *calls, *admin))
            .collect();
        if all.len() < Name::ALL.len() {
            return Err("no free ports were found: choose some with --port".into());
        }
        Ok(Self(all))
    }

    /// Where the service takes calls.
    #[must_use]
    pub fn calls(&self, name: Name) -> SocketAddr {
        self.find(name, |(_, calls, _)| *calls)
    }

    /// Its address for operators.
    #[must_use]
    pub fn admin(&self, name: Name) -> SocketAddr {
        self.find(name, |(_, _, admin)| *admin)
    }

    fn find(&self, name: Name, port: impl Fn(&(Name, u16, u16)) -> u16) -> SocketAddr {
        let found = self.0.iter().find(|(of, _, _)| *of == name);
        SocketAddr::from((Ipv4Addr::LOCALHOST, found.map_or(0, port)))
    }
}

/// From the first port to the one of this service.
const fn place(name: Name) -> u16 {
    match name {
        Name::Gateway => 0,
        Name::Users => 1,
        Name::Catalog => 2,
        Name::Payments => 3,
        Name::Stock => 4,
        Name::Orders => 5,
        Name::Notifications => 6,
        Name::Broker => 7,
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let addresses = Addresses::from_base(0).unwrap();
        let mut all: Vec<_> = Name::ALL
            .into_iter()
            .flat_map(|name| [addresses.calls(name), addresses.admin(name)])
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 16);
        assert!(all.iter().all(|address| FREE.contains(&address.port())));
    }

    #[test]
    fn ports_in_use_and_too_large_ones_are_refused() {
        let others = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = others.local_addr().unwrap().port();
        let refused = Addresses::from_base(port.min(u16::MAX - 107)).unwrap_err();
        assert!(refused.to_string().contains("in use"), "{refused}");
        let refused = Addresses::from_base(u16::MAX).unwrap_err();
        let text = "port = 65535 is refused: must be 0, or at most 65428";
        assert_eq!(refused.to_string(), text);
    }
}
