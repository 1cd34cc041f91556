//! Which addresses are taken for one client.

use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the 64-bit network of an IPv6 one, which one subscriber has whole.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6
            .to_ipv4_mapped()
            .map_or_else(|| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))), IpAddr::V4),
    }
}
