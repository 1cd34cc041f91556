//! What only one process has at a time: an address of one machine on which it listens. Whoever starts there again after a crash
//! is known to have followed the one before.

use std::fs;

/// The place of whoever listens at `address`. None: the system does not tell which machine this is.
///
/// Two machines have two boot ids, and two containers of one machine have two networks, in which both may listen at one address.
pub(super) fn of(address: &str) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let network = fs::read_link("/proc/self/ns/net").ok()?;
    Some(format!("{} {} {address}", boot.trim(), network.display()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_for_one_address_alone() {
        let here = of("127.0.0.1:8080").unwrap();
        assert_eq!(of("127.0.0.1:8080").as_ref(), Some(&here));
        assert_ne!(of("127.0.0.1:8081").as_ref(), Some(&here));
        assert!(!here.contains('\n'), "{here}");
    }
}
