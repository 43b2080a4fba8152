//! Addresses of a node's partitions, computed from the node's own prefix and the partition's index
//! (N 5.4). No I/O.
//!
//! Nodes that change from upstream keep their addresses only when this arithmetic is upstream's:
//! `tests/format.rs` compares it with the released code.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Which part of the node's prefix a range is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeKind {
    /// The partition's own range.
    Partition,
    /// What is routed to its tap.
    Tap,
    /// What is routed to its tun.
    Tun,
}

/// An IPv6 address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The address; bits behind the prefix may be set.
    pub address: Ipv6Addr,
    /// Bits of the prefix, 0 to 128.
    pub length: u32,
}

impl Prefix {
    /// Whether the address is in this network.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        let mask = mask(self.length);
        u128::from(self.address) & mask == u128::from(address) & mask
    }

    /// The netmask in address notation.
    pub fn netmask(self) -> Ipv6Addr {
        mask(self.length).into()
    }

    /// The first address behind the network's own.
    pub fn first(self) -> Ipv6Addr {
        let network = u128::from(self.address) & mask(self.length);
        // A network of one address has no other.
        (network | u128::from(self.length < 128)).into()
    }

    /// The address of the partition with this index: the index and two, in what the prefix leaves;
    /// it wraps where that is too small.
    pub fn partition_address(self, index: usize) -> Ipv6Addr {
        let mask = mask(self.length);
        let network = u128::from(self.address) & mask;
        let suffix = match 128 - self.length.min(128) {
            0 => return network.into(),
            1 => index as u128 & 1,
            bits => {
                let room = 1_u128.checked_shl(bits).map_or(u128::MAX, |all| all - 2);
                2 + index as u128 % room
            }
        };
        (network | suffix & !mask).into()
    }

    /// The range of the partition with this index, `shift` bits longer than this prefix; `None`
    /// where the prefix is too long to be divided.
    ///
    /// The host bits are 0, or all ones for a tap's.
    pub fn range(self, index: usize, shift: u32, kind: RangeKind) -> Option<Prefix> {
        let length = self.length.checked_add(shift)?;
        if length >= 128 || !(2..=32).contains(&shift) {
            return None;
        }
        let quarter = match kind {
            RangeKind::Partition => 1_u128,
            RangeKind::Tap => 2,
            RangeKind::Tun => 3,
        };
        let number = (quarter << (shift - 2)) + index as u128 + 1;
        if number >> shift != 0 {
            return None;
        }
        let network = u128::from(self.address) & mask(self.length) | number << (128 - length);
        let address = match kind {
            RangeKind::Tap => network | !mask(length),
            RangeKind::Partition | RangeKind::Tun => network,
        };
        Some(Prefix {
            address: address.into(),
            length,
        })
    }
}

fn mask(length: u32) -> u128 {
    u128::MAX
        .checked_shl(128_u32.saturating_sub(length))
        .unwrap_or(0)
}

/// The length that a netmask in address notation stands for; a length behind a slash is ignored.
pub(crate) fn netmask_length_v6(netmask: &str) -> Option<u32> {
    let mask: Ipv6Addr = netmask.split('/').next()?.parse().ok()?;
    let bits = u128::from(mask);
    (bits.leading_ones() + bits.trailing_zeros().min(128) >= 128).then_some(bits.leading_ones())
}

/// Whether the address can be told to others: not link-local, loopback, multicast or reserved.
/// Unique local and documentation addresses can.
pub(crate) fn is_global_scope(address: Ipv6Addr) -> bool {
    // 2000::/3, fc00::/7 and fec0::/10; everything else is reserved or has a narrower scope.
    let head = address.segments()[0];
    head & 0xe000 == 0x2000 || head & 0xfe00 == 0xfc00 || head & 0xffc0 == 0xfec0
}

/// The IPv4 network of a partition's tun: `172.16.0.0/12` in as many parts as are needed, their
/// first address and their netmask.
pub(crate) fn tun_ipv4(index: usize, amount: usize) -> Option<(Ipv4Addr, u32)> {
    let bits = amount.max(1).next_power_of_two().trailing_zeros();
    let length = 12 + bits;
    if length > 30 || index >= amount {
        return None;
    }
    let base = u32::from(Ipv4Addr::new(172, 16, 0, 0));
    let network = base + (u32::try_from(index).ok()? << (32 - length));
    Some(((network + 1).into(), length))
}

/// The netmask of a length in address notation.
pub(crate) fn netmask_v4(length: u32) -> Ipv4Addr {
    u32::MAX
        .checked_shl(32_u32.saturating_sub(length))
        .unwrap_or(0)
        .into()
}

/// Reads `<address>/<length>` of an IPv4 network.
pub(crate) fn network_v4(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, length) = text.trim().split_once('/').unwrap_or((text.trim(), "32"));
    let address: Ipv4Addr = address.parse().ok()?;
    let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
    let network = u32::from(address) & u32::from(netmask_v4(length));
    Some((network.into(), length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix {
            address: address.parse().unwrap(),
            length: length.parse().unwrap(),
        }
    }

    fn range(text: &str, index: usize, kind: RangeKind) -> String {
        let range = prefix(text).range(index, 16, kind);
        range.map_or("none".into(), |range| {
            format!("{}/{}", range.address, range.length)
        })
    }

    #[test]
    fn n_5_4_the_vectors_measured_with_upstream() {
        use RangeKind::{Partition, Tap, Tun};
        for (text, index, kind, expected) in [
            ("2001:db8:1::1/48", 0, Partition, "2001:db8:1:4001::/64"),
            (
                "2001:db8:1::1/48",
                0,
                Tap,
                "2001:db8:1:8001:ffff:ffff:ffff:ffff/64",
            ),
            ("2001:db8:1::1/48", 0, Tun, "2001:db8:1:c001::/64"),
            ("2001:db8:1::1/48", 9, Partition, "2001:db8:1:400a::/64"),
            ("2001:db8:1::1/48", 9, Tun, "2001:db8:1:c00a::/64"),
            ("2001:db8:1::1/64", 0, Partition, "2001:db8:1:0:4001::/80"),
            (
                "2001:db8:1::1/64",
                0,
                Tap,
                "2001:db8:1:0:8001:ffff:ffff:ffff/80",
            ),
            ("2001:db8:1::1/96", 0, Partition, "2001:db8:1::4001:0/112"),
            ("2001:db8:1::1/112", 0, Partition, "none"),
        ] {
            assert_eq!(range(text, index, kind), expected, "{text} {index}");
        }
        for (text, index, expected) in [
            ("2001:db8:1::1/48", 0, "2001:db8:1::2"),
            ("2001:db8:1::1/48", 9, "2001:db8:1::b"),
            ("2001:db8:1::1/126", 9, "2001:db8:1::3"),
            ("2001:db8:1::1/128", 0, "2001:db8:1::1"),
        ] {
            let address = prefix(text).partition_address(index);
            assert_eq!(address.to_string(), expected, "{text} {index}");
        }
    }

    #[test]
    fn n_5_4_only_addresses_others_can_use_count() {
        for (address, expected) in [
            ("fd00::2", true),
            ("2001:db8::1", true),
            ("3fff::1", true),
            ("100::1", false),
            ("64:ff9b::1", false),
            ("4000::1", false),
            ("::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(
                is_global_scope(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn n_5_5_tuns_share_one_network() {
        let text = |index, amount| {
            let (address, length) = tun_ipv4(index, amount).unwrap();
            format!("{address}/{}", netmask_v4(length))
        };
        assert_eq!(text(0, 10), "172.16.0.1/255.255.0.0");
        assert_eq!(text(9, 10), "172.25.0.1/255.255.0.0");
        assert_eq!(text(1, 2), "172.24.0.1/255.248.0.0");
        assert_eq!(text(0, 1), "172.16.0.1/255.240.0.0");
        assert!(tun_ipv4(3, 3).is_none());
    }

    #[test]
    fn netmasks_are_read_with_and_without_length() {
        assert_eq!(netmask_length_v6("ffff:ffff::"), Some(32));
        assert_eq!(netmask_length_v6("ffff:ffff::/32"), Some(32));
        assert_eq!(netmask_length_v6("::"), Some(0));
        assert_eq!(netmask_length_v6("ffff::1"), None);
        assert_eq!(
            network_v4("10.1.2.3/8"),
            Some((Ipv4Addr::new(10, 0, 0, 0), 8))
        );
        assert_eq!(network_v4("10.1.2.3/33"), None);
    }

    proptest! {
        #[test]
        fn ranges_lie_in_the_prefix_and_never_overlap(
            address: u128, length in 0_u32..=128, shift in 0_u32..=40, amount in 1_usize..200,
        ) {
            let prefix = Prefix { address: address.into(), length };
            let mut seen = std::collections::BTreeSet::new();
            // What the configuration demands: the shift leaves a quarter for each kind.
            prop_assume!(shift < 64 && 1_u128 << shift >= 4 * amount as u128);
            for index in 0..amount - 1 {
                for kind in [RangeKind::Partition, RangeKind::Tap, RangeKind::Tun] {
                    match prefix.range(index, shift, kind) {
                        None => prop_assert!(length + shift >= 128 || shift > 32),
                        Some(range) => {
                            prop_assert!(prefix.contains(range.address));
                            prop_assert_eq!(range.length, length + shift);
                            prop_assert!(range.contains(range.first()));
                            prop_assert!(!range.contains(prefix.partition_address(index)));
                            let network = u128::from(range.address) & mask(range.length);
                            prop_assert!(seen.insert(network), "{} twice", range.address);
                        }
                    }
                }
            }
        }

        #[test]
        fn addresses_of_partitions_lie_in_the_prefix(address: u128, length in 0_u32..=128, index in 0_usize..100_000) {
            let prefix = Prefix { address: address.into(), length };
            prop_assert!(prefix.contains(prefix.partition_address(index)));
        }
    }
}
