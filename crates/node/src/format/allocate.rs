//! Which addresses each partition gets (N 5.4, 5.5). What was decided before stays wherever it still
//! works. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use slap::Value;

use super::arithmetic::{
    Prefix, RangeKind, is_global_scope, netmask_length_v6, netmask_v4, network_v4, tun_ipv4,
};
use super::config::FormatConfig;
use super::facts::{Facts, Link};
use super::machine::{FULL_MASK_V4, Machine, Slot};

/// Random addresses tried before giving up; the network is then as good as full.
const TRIES: usize = 1000;

/// What an allocation knows besides the machine and the configuration.
pub(crate) struct Allocation<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) config: &'a FormatConfig,
    /// Addresses that an earlier format put on the interfaces: they are the partitions', not the
    /// node's own.
    pub(crate) made: &'a BTreeSet<IpAddr>,
    /// Addresses that others on the network turned out to have.
    pub(crate) refused: &'a BTreeSet<IpAddr>,
    pub(crate) random: &'a mut dyn FnMut() -> u64,
    /// What people should know.
    pub(crate) warnings: Vec<String>,
}

impl Allocation<'_> {
    /// Fills in all addresses of the machine.
    pub(crate) fn fill(&mut self, machine: &mut Machine) -> Result<(), String> {
        let prefix = self.own_address(machine)?;
        machine.address = Some(prefix.address.to_string());
        machine.netmask = Some(prefix.netmask().to_string());
        let mut taken: BTreeSet<IpAddr> = self.refused.clone();
        for link in &self.facts.links {
            taken.extend(link.addresses.iter().map(|address| address.address));
        }
        let gateway = self.tap_gateway(machine.partitions.len())?;
        let mut gateway_free: Vec<Ipv4Addr> = match &gateway {
            Some(gateway) => gateway.hosts(machine, machine.partitions.len()),
            None => Vec::new(),
        };
        // What stays is known before anything new is chosen.
        let kept: Vec<(Option<Ipv4Addr>, Option<Prefix>)> = machine
            .partitions
            .iter()
            .map(|slot| self.kept(slot, prefix))
            .collect();
        for (v4, v6) in &kept {
            taken.extend(v4.map(IpAddr::V4));
            taken.extend(v6.map(|kept| IpAddr::V6(kept.address)));
        }
        let mut ranges = BTreeSet::new();
        for slot in &machine.partitions {
            ranges.extend(slot.range_network());
        }
        let amount = machine.partitions.len();
        for (index, (slot, (v4, v6))) in machine.partitions.iter_mut().zip(kept).enumerate() {
            let v4 = match v4 {
                Some(address) => address,
                None => self.new_v4(slot, &taken)?,
            };
            taken.insert(v4.into());
            let v6 = match v6 {
                Some(kept) => kept,
                None => self.new_v6(slot, index, prefix, &taken)?,
            };
            taken.insert(v6.address.into());
            slot.set_addresses(&[
                (v4.to_string(), FULL_MASK_V4.to_owned()),
                (v6.address.to_string(), v6.netmask().to_string()),
            ]);
            self.fill_range(slot, index, prefix, &mut ranges)?;
            if self.config.network.create_tap {
                if let Some(gateway) = &gateway {
                    gateway.fill(slot, &mut gateway_free);
                } else {
                    for name in ["addr", "gateway", "netmask", "network"] {
                        slot.set("tap", &format!("ipv4_{name}"), "");
                    }
                }
                self.fill_tap(slot, index, prefix)?;
            }
            if self.config.network.create_tun {
                self.fill_tun(slot, index, amount, prefix)?;
            }
        }
        Ok(())
    }

    fn link(&self, name: &str, option: &str) -> Result<&Link, String> {
        self.facts.link(name).ok_or_else(|| {
            let names: Vec<&str> = self
                .facts
                .links
                .iter()
                .map(|link| link.name.as_str())
                .collect();
            format!(
                "there is no interface {name} ({option} in [slapformat]); there are {}",
                names.join(", ")
            )
        })
    }

    fn ipv6_interface(&self) -> Result<&Link, String> {
        let name = self.config.ipv6_interface().unwrap_or_default();
        self.link(name, "ipv6_interface or interface_name")
    }

    /// The node's own address: the prefix of the partitions' ones.
    fn own_address(&self, machine: &Machine) -> Result<Prefix, String> {
        let link = self.ipv6_interface()?;
        let all: Vec<Prefix> = link
            .addresses
            .iter()
            .filter_map(|found| match found.address {
                IpAddr::V6(address) if is_global_scope(address) => Some(Prefix {
                    address,
                    length: found.length,
                }),
                _ => None,
            })
            .collect();
        // Otherwise a partition's address below the node's own would become the node's at the
        // second run.
        let partitions: BTreeSet<String> = machine
            .partitions
            .iter()
            .flat_map(Slot::address_pairs)
            .map(|(address, _)| address)
            .collect();
        let own: Vec<Prefix> = all
            .iter()
            .copied()
            .filter(|found| {
                !self.made.contains(&IpAddr::V6(found.address))
                    && !partitions.contains(&found.address.to_string())
            })
            .collect();
        let candidates = if own.is_empty() { all } else { own };
        let preferred: Option<Ipv6Addr> = machine
            .address
            .as_deref()
            .and_then(|address| address.parse().ok());
        if let Some(preferred) = preferred {
            let near = candidates.iter().filter(|own| own.contains(preferred));
            let best = near.min_by_key(|own| (own.address != preferred, own.address));
            if let Some(best) = best {
                return Ok(*best);
            }
        }
        let best = candidates
            .iter()
            .min_by_key(|own| (own.length, own.address))
            .copied();
        best.ok_or_else(|| {
            format!(
                "No IPv6 found on interface {} to construct IPv6 with. Give it a global one, such \
                 as `ip addr add fd00:1:2:3::1/64 dev {}`, or name another interface with \
                 ipv6_interface, or set `alter_network = false`, in [slapformat]",
                link.name, link.name
            )
        })
    }

    /// Which stored addresses of a partition it keeps.
    fn kept(&self, slot: &Slot, prefix: Prefix) -> (Option<Ipv4Addr>, Option<Prefix>) {
        let mut kept = (None, None);
        for (address, netmask) in slot.address_pairs() {
            let Ok(address) = address.parse::<IpAddr>() else {
                continue;
            };
            if self.refused.contains(&address) || address.is_loopback() {
                continue;
            }
            let interface = match address {
                IpAddr::V4(_) => self.config.network.interface_name.as_deref(),
                IpAddr::V6(_) => self.config.ipv6_interface(),
            };
            let elsewhere = self
                .facts
                .links
                .iter()
                .any(|link| Some(link.name.as_str()) != interface && link.has(address));
            if elsewhere {
                continue;
            }
            let here = self
                .facts
                .links
                .iter()
                .filter(|link| Some(link.name.as_str()) == interface)
                .flat_map(|link| &link.addresses)
                .find(|found| found.address == address);
            match address {
                IpAddr::V4(address) => kept.0 = kept.0.or(Some(address)),
                IpAddr::V6(address) => {
                    let length = netmask_length_v6(&netmask);
                    let fits = length == Some(prefix.length) && prefix.contains(address);
                    let length = here.map(|here| here.length).or(length.filter(|_| fits));
                    if let Some(length) = length
                        && is_global_scope(address)
                    {
                        kept.1 = kept.1.or(Some(Prefix { address, length }));
                    }
                }
            }
        }
        kept
    }

    fn new_v4(&mut self, slot: &Slot, taken: &BTreeSet<IpAddr>) -> Result<Ipv4Addr, String> {
        let text = self.config.network.ipv4_local_network.as_deref();
        let text = text.unwrap_or_default();
        let (network, length) =
            network_v4(text).ok_or("ipv4_local_network in [slapformat] is not a network")?;
        // Its own and the broadcast address would confuse people, and there is no need for them.
        let size = 1_u64 << (32 - length);
        let (first, count) = if size > 2 { (1, size - 2) } else { (0, size) };
        for attempt in 0..TRIES as u64 {
            // In a small network every address is tried, in a large one they are picked.
            let pick = if count <= TRIES as u64 {
                attempt
            } else {
                (self.random)()
            };
            let host = u32::try_from(first + pick % count).unwrap_or_default();
            let address = Ipv4Addr::from(u32::from(network).wrapping_add(host));
            if !taken.contains(&IpAddr::V4(address)) {
                self.tell_new(slot, IpAddr::V4(address));
                return Ok(address);
            }
        }
        Err(format!(
            "no address is free in ipv4_local_network {text} for partition {}",
            slot.reference
        ))
    }

    fn new_v6(
        &mut self,
        slot: &Slot,
        index: usize,
        prefix: Prefix,
        taken: &BTreeSet<IpAddr>,
    ) -> Result<Prefix, String> {
        let computed = prefix.partition_address(index);
        // What an earlier run put there and lost its state since is the partition's.
        let found = |address: Ipv6Addr| {
            let address = IpAddr::V6(address);
            !taken.contains(&address)
                || self.made.contains(&address) && !self.refused.contains(&address)
        };
        let with = |address| Prefix {
            address,
            length: prefix.length,
        };
        if found(computed) {
            self.tell_new(slot, computed.into());
            return Ok(with(computed));
        }
        if self.config.network.ipv6_prefixshift != 16 {
            return Err(format!(
                "address {computed} of partition {} is taken; others are only tried where \
                 ipv6_prefixshift is 16",
                slot.reference
            ));
        }
        for _ in 0..TRIES {
            let last = 1 + (self.random)() % 65_000;
            let address = Ipv6Addr::from(u128::from(prefix.address) & !0xffff | u128::from(last));
            if prefix.contains(address) && !taken.contains(&IpAddr::V6(address)) {
                self.warnings.push(format!(
                    "{computed} of partition {} is taken; it gets {address}",
                    slot.reference
                ));
                return Ok(with(address));
            }
        }
        Err(format!(
            "no IPv6 address is free in {}/{} for partition {}",
            prefix.address, prefix.length, slot.reference
        ))
    }

    /// Tells of an address that replaces one of the same family.
    fn tell_new(&mut self, slot: &Slot, new: IpAddr) {
        let old = slot.address_pairs().into_iter().find(|(old, _)| {
            old.parse::<IpAddr>()
                .is_ok_and(|old| old.is_ipv4() == new.is_ipv4() && !old.is_loopback())
        });
        if let Some((old, _)) = old {
            self.warnings.push(format!(
                "partition {} cannot keep {old}, which is elsewhere or not in the interface's \
                 network; it gets {new}",
                slot.reference
            ));
        }
    }

    fn fill_range(
        &self,
        slot: &mut Slot,
        index: usize,
        prefix: Prefix,
        ranges: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        if !self.config.network.partition_has_ipv6_range {
            slot.description
                .insert("ipv6_range".to_owned(), Value::Dict(BTreeMap::new()));
            return Ok(());
        }
        if slot.range_network().is_some() {
            return Ok(());
        }
        let range = self.range(index, prefix, RangeKind::Partition)?;
        let network = format!("{}/{}", range.address, range.length);
        if !ranges.insert(network.clone()) {
            return Err(format!(
                "the IPv6 range {network} of partition {} belongs to another one already",
                slot.reference
            ));
        }
        let value = Value::dict([
            ("addr", Value::text(range.address.to_string())),
            ("netmask", Value::text(range.netmask().to_string())),
            ("network", Value::text(network)),
            ("prefixlen", Value::Int(range.length.into())),
        ]);
        slot.description.insert("ipv6_range".to_owned(), value);
        Ok(())
    }

    fn range(&self, index: usize, prefix: Prefix, kind: RangeKind) -> Result<Prefix, String> {
        let shift = self.config.network.ipv6_prefixshift;
        prefix.range(index, shift, kind).ok_or_else(|| {
            format!(
                "the prefix of {}/{} is too long to be divided by {shift} more bits; in \
                 [slapformat], set `partition_has_ipv6_range = false` and `tap_ipv6 = false`, or a \
                 smaller ipv6_prefixshift",
                prefix.address, prefix.length
            )
        })
    }

    fn fill_tap(&self, slot: &mut Slot, index: usize, prefix: Prefix) -> Result<(), String> {
        if !self.config.network.tap_ipv6 {
            for name in ["addr", "gateway", "netmask", "network"] {
                slot.set("tap", &format!("ipv6_{name}"), "");
            }
            return Ok(());
        }
        let stored = slot.text(&["tap", "ipv6_addr"]).parse().ok();
        let length = netmask_length_v6(slot.text(&["tap", "ipv6_netmask"]));
        let range = match (stored, length) {
            (Some(address), Some(length)) => Prefix { address, length },
            _ => self.range(index, prefix, RangeKind::Tap)?,
        };
        let gateway = range.first();
        slot.set("tap", "ipv6_addr", &range.address.to_string());
        slot.set("tap", "ipv6_netmask", &range.netmask().to_string());
        slot.set("tap", "ipv6_gateway", &gateway.to_string());
        slot.set(
            "tap",
            "ipv6_network",
            &format!("{gateway}/{}", range.length),
        );
        Ok(())
    }

    fn fill_tun(
        &self,
        slot: &mut Slot,
        index: usize,
        amount: usize,
        prefix: Prefix,
    ) -> Result<(), String> {
        if slot.text(&["tun", "name"]).is_empty() {
            let names = ["addr", "gateway", "netmask", "network"];
            let empty = names
                .iter()
                .flat_map(|name| [format!("ipv4_{name}"), format!("ipv6_{name}")])
                .map(|name| (name, Value::text("")))
                .chain([("name".to_owned(), Value::text(format!("slaptun{index}")))])
                .collect();
            slot.description
                .insert("tun".to_owned(), Value::Dict(empty));
        }
        if slot.text(&["tun", "ipv4_addr"]).is_empty() {
            let (address, length) = tun_ipv4(index, amount)
                .ok_or("172.16.0.0/12 is too small for the tuns of so many partitions")?;
            let netmask = netmask_v4(length);
            slot.set("tun", "ipv4_addr", &address.to_string());
            slot.set("tun", "ipv4_netmask", &netmask.to_string());
            slot.set("tun", "ipv4_network", &format!("{address}/{netmask}"));
        }
        if self.config.network.tun_ipv6 && slot.text(&["tun", "ipv6_addr"]).is_empty() {
            let range = self.range(index, prefix, RangeKind::Tun)?;
            let first = range.first();
            slot.set("tun", "ipv6_addr", &first.to_string());
            slot.set("tun", "ipv6_netmask", &range.netmask().to_string());
            slot.set("tun", "ipv6_network", &format!("{first}/{}", range.length));
        }
        Ok(())
    }

    fn tap_gateway(&self, partitions: usize) -> Result<Option<Gateway>, String> {
        let network = &self.config.network;
        let Some(name) = network
            .tap_gateway_interface
            .as_deref()
            .filter(|_| network.create_tap)
        else {
            return Ok(None);
        };
        let link = self.link(name, "tap_gateway_interface")?;
        let found = link.addresses.iter().find_map(|found| match found.address {
            IpAddr::V4(address) => Some((address, found.length)),
            IpAddr::V6(_) => None,
        });
        let (address, length) =
            found.ok_or_else(|| format!("interface {name} (tap_gateway_interface) has no IPv4"))?;
        let room = (1_u64 << (32 - length.min(32))).saturating_sub(2);
        if room < partitions as u64 {
            return Err(format!(
                "the network of {address}/{length} on {name} (tap_gateway_interface) is too small \
                 for {partitions} taps"
            ));
        }
        Ok(Some(Gateway { address, length }))
    }
}

/// The address taps are routed from.
struct Gateway {
    address: Ipv4Addr,
    length: u32,
}

impl Gateway {
    fn network(&self) -> u32 {
        u32::from(self.address) & u32::from(netmask_v4(self.length))
    }

    /// As many of its free addresses as are needed, the last one first.
    fn hosts(&self, machine: &Machine, wanted: usize) -> Vec<Ipv4Addr> {
        let used: BTreeSet<&str> = machine
            .partitions
            .iter()
            .map(|slot| slot.text(&["tap", "ipv4_addr"]))
            .collect();
        let size = 1_u64 << (32 - self.length);
        let mut free: Vec<Ipv4Addr> = (1..size)
            .map(|host| Ipv4Addr::from(self.network().wrapping_add(host as u32)))
            .filter(|address| *address != self.address)
            .filter(|address| !used.contains(address.to_string().as_str()))
            .take(wanted)
            .collect();
        free.reverse();
        free
    }

    fn fill(&self, slot: &mut Slot, free: &mut Vec<Ipv4Addr>) {
        if !slot.text(&["tap", "ipv4_addr"]).is_empty() {
            return;
        }
        if let Some(address) = free.pop() {
            slot.set("tap", "ipv4_addr", &address.to_string());
            slot.set("tap", "ipv4_netmask", &netmask_v4(self.length).to_string());
            slot.set("tap", "ipv4_gateway", &self.address.to_string());
            let network = Ipv4Addr::from(self.network());
            slot.set("tap", "ipv4_network", &network.to_string());
        }
    }
}
