//! A share of connections for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;

use crate::limits::network;

/// Open connections by address.
type Counts = HashMap<IpAddr, usize>;

/// How many connections each address has, so that one cannot take the places of all.
#[derive(Debug)]
pub(crate) struct Shares {
    open: Arc<Mutex<Counts>>,
    each_max: usize,
    /// Many clients come through one of these.
    trusted_proxies: Vec<IpNet>,
}

impl Shares {
    pub(crate) fn new(each_max: usize, trusted_proxies: Vec<IpNet>) -> Self {
        Self { open: Arc::default(), each_max, trusted_proxies }
    }

    /// The same of other connections, of which each address may have `each_max`.
    pub(crate) fn others(&self, each_max: usize) -> Self {
        Self::new(each_max, self.trusted_proxies.clone())
    }

    /// A place among those of `address`, if one is free.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Share> {
        // Of a proxy the whole address counts: those of its network may be anybody's.
        let exact = address.to_canonical();
        if self.trusted_proxies.iter().any(|proxies| proxies.contains(&exact)) {
            return Some(Share(None));
        }
        let address = network(address);
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Share(Some((self.open.clone(), address))))
    }
}

/// A place among those of an address, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Share(Option<(Arc<Mutex<Counts>>, IpAddr)>);

impl Share {
    /// Of which address. None: of one that is not counted, behind which there are many.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.0.as_ref().map(|(_, address)| *address)
    }

    /// One that counts nowhere.
    #[cfg(test)]
    pub(crate) fn unbounded() -> Self {
        Self(None)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((open, address)) = &self.0 else { return };
        let mut open = open.lock();
        if let Some(count) = open.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                open.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share() {
        let proxies = ["10.0.0.0/8", "2001:db8:1::5/128"].map(|network| network.parse().unwrap());
        let shares = Shares::new(2, proxies.to_vec());
        let take = |address: &str| shares.take(address.parse().unwrap());
        let (one, two) = (take("192.0.2.1"), take("192.0.2.1"));
        assert!(one.is_some() && two.is_some());
        assert!(take("192.0.2.1").is_none() && take("::ffff:192.0.2.1").is_none());
        assert!(take("192.0.2.2").is_some());
        drop(one);
        let again = take("192.0.2.1");
        assert!(again.is_some() && take("192.0.2.1").is_none());
        for proxy in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1::5"] {
            let proxied: Vec<_> = (0..9).map(|_| take(proxy)).collect();
            assert!(proxied.iter().all(Option::is_some), "{proxy}");
        }
        let neighbours = [6, 7, 8].map(|last| take(&format!("2001:db8:1::{last}")));
        assert!(neighbours[2].is_none(), "who shares a proxy's network shares no trust");
        drop((two, again, neighbours));
        assert!(shares.open.lock().is_empty());
    }
}
