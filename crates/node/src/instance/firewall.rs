//! Who may reach an instance's addresses: firewalld's rules, where `[firewall]` asks for them
//! (N 3.3). Only IPv4, and only what is routed to the partition.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use slap::PartitionId;
use slap::document::TextDict;

use crate::config::NodeConfig;
use crate::firewalld::FirewallConfig;
use crate::manager::addresses;
use crate::outcome::Error;
use crate::partition::Partition;
use crate::safe_fs::{self, Durable};

/// The rules in the partition, for upstream's tools. What counts is the node's own copy: whoever
/// writes here must not command the machine's firewall.
const FILE: &str = ".slapos-firewalld-rules";
const PREFIX: &str = "--permanent --direct --add-rule ipv4 filter";

/// What concerns one partition.
#[derive(Debug, Default, Clone)]
struct Facts {
    /// Its own addresses.
    own: Vec<Ipv4Addr>,
    /// Those of its instance's tree.
    tree: Vec<Ipv4Addr>,
    restricted: bool,
    authorized: Vec<String>,
    rejected: Vec<String>,
}

/// The rules, in upstream's order and words.
fn rules(facts: &Facts) -> Vec<String> {
    let mut rules = Vec::new();
    let tree: Vec<String> = facts.tree.iter().map(ToString::to_string).collect();
    for ip in &facts.own {
        let mut put = |chain_and_more: &dyn Fn(&str) -> String| {
            for chain in ["INPUT", "FORWARD"] {
                rules.push(format!("{PREFIX} {}", chain_and_more(chain)));
            }
        };
        let accepted = tree.iter().chain(&facts.authorized);
        if facts.restricted {
            for from in accepted {
                put(&|chain| format!("{chain} 0 -s {from} -d {ip} -j ACCEPT"));
            }
            put(&|chain| format!("{chain} 1000 -d {ip} -j REJECT"));
            put(&|chain| {
                format!("{chain} 900 -d {ip} -m state --state ESTABLISHED,RELATED -j REJECT")
            });
        } else {
            for from in &facts.rejected {
                put(&|chain| {
                    format!(
                        "{chain} 800 -s {from} -d {ip} -m state --state ESTABLISHED,RELATED -j \
                         REJECT"
                    )
                });
                put(&|chain| format!("{chain} 900 -s {from} -d {ip} -j REJECT"));
            }
            for from in accepted {
                put(&|chain| format!("{chain} 0 -s {from} -d {ip} -j ACCEPT"));
            }
        }
    }
    rules
}

/// An IPv4 address or network, as written.
fn is_source(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    address.parse::<Ipv4Addr>().is_ok() && length.parse::<u8>().is_ok_and(|length| length <= 32)
}

fn facts(
    firewall: &FirewallConfig,
    own: &[(String, String)],
    tree: &[(String, String)],
    sla: Option<&TextDict>,
    warn: &dyn Fn(&str),
) -> Facts {
    let own: Vec<Ipv4Addr> = own
        .iter()
        .filter(|(interface, _)| interface.starts_with("route_"))
        .filter_map(|(_, address)| address.parse().ok())
        .collect();
    let tree = tree
        .iter()
        .filter_map(|(_, address)| address.parse().ok())
        .filter(|address| !own.contains(address))
        .collect();
    let asked = |name: &str| -> Vec<String> {
        sla.and_then(|sla| sla.get(name))
            .map(String::as_str)
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let valid = |list: Vec<String>| -> Vec<String> {
        let (good, bad): (Vec<_>, Vec<_>) = list.into_iter().partition(|text| is_source(text));
        for text in bad {
            warn(&format!("firewall: `{text}` is no IPv4 address or network"));
        }
        good
    };
    let mut authorized = asked("fw_authorized_sources");
    authorized.extend(firewall.authorized_sources.iter().cloned());
    let access = sla.and_then(|sla| sla.get("fw_restricted_access"));
    let restricted = access.is_none_or(|access| access != "off");
    Facts {
        own,
        tree,
        restricted,
        authorized: valid(authorized),
        rejected: if restricted {
            Vec::new()
        } else {
            valid(asked("fw_rejected_sources"))
        },
    }
}

/// Where the node keeps which rules it made for a partition.
fn record(config: &NodeConfig, id: &PartitionId) -> PathBuf {
    config
        .instance_root
        .join(format!("var/run/{id}.firewalld-rules"))
}

/// Makes the firewall as the instance's order has it.
pub(super) fn set_up(
    partition: &Partition<'_>,
    firewall: &FirewallConfig,
    tree: &[(String, String)],
    warn: &dyn Fn(&str),
) -> Result<(), Error> {
    let sla = partition.document.sla.as_ref();
    let facts = facts(firewall, &addresses(partition), tree, sla, warn);
    apply(partition, firewall, rules(&facts), &facts.own)
}

/// Removes all its rules, where there may be some.
pub(crate) fn tear_down(partition: &Partition<'_>) -> Result<(), Error> {
    let Some(firewall) = &partition.config.firewall else {
        return Ok(());
    };
    let own: Vec<Ipv4Addr> = addresses(partition)
        .iter()
        .filter_map(|(_, address)| address.parse().ok())
        .collect();
    apply(partition, firewall, Vec::new(), &own)
}

fn apply(
    partition: &Partition<'_>,
    firewall: &FirewallConfig,
    wanted: Vec<String>,
    own: &[Ipv4Addr],
) -> Result<(), Error> {
    let record = record(partition.config, partition.id());
    let known: BTreeSet<String> = match std::fs::read(&record) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        // An upstream node's, as far as it is about the partition's own addresses.
        Err(_) => {
            let bytes = partition.dir.read(FILE).ok().flatten().unwrap_or_default();
            let list: Vec<String> = serde_json::from_slice(&bytes).unwrap_or_default();
            let ours = |rule: &String| {
                rule.starts_with(PREFIX)
                    && own.iter().any(|ip| rule.contains(&format!(" -d {ip} ")))
            };
            list.into_iter().filter(ours).collect()
        }
    };
    let refused = |reason: String| Error::Refused(format!("firewall: {reason}"));
    let write = |rules: &BTreeSet<String>| {
        let text = serde_json::to_vec(rules).unwrap_or_default();
        safe_fs::write_if_different(&record, &text, 0o600, Durable::Yes)
            .map_err(Error::io("write", &record))
    };
    let goal: BTreeSet<String> = wanted.iter().cloned().collect();
    // Noted before they are made: a run that is killed leaves none behind that nobody knows.
    write(&known.union(&goal).cloned().collect())?;
    let mut changed = false;
    for rule in known.difference(&goal) {
        if asks(firewall, rule, "--query-rule").map_err(refused)? {
            order(firewall, rule, "--remove-rule").map_err(refused)?;
            changed = true;
        }
    }
    for rule in &wanted {
        if !asks(firewall, rule, "--query-rule").map_err(refused)? {
            order(firewall, rule, "--add-rule").map_err(refused)?;
            changed = true;
        }
    }
    if changed {
        firewall.reload().map_err(refused)?;
    }
    write(&goal)?;
    let text = serde_json::to_vec(&wanted).unwrap_or_default();
    partition.write(FILE, &text, 0o644, Durable::No)
}

fn asks(firewall: &FirewallConfig, rule: &str, action: &str) -> Result<bool, String> {
    let rule = rule.replace("--add-rule", action);
    firewall.asks(&rule.split(' ').collect::<Vec<_>>())
}

fn order(firewall: &FirewallConfig, rule: &str, action: &str) -> Result<(), String> {
    let rule = rule.replace("--add-rule", action);
    firewall.order(&rule.split(' ').collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(interface, address)| ((*interface).to_owned(), (*address).to_owned()))
            .collect()
    }

    #[test]
    fn n_3_3_rules_are_upstreams() {
        let firewall = FirewallConfig {
            command: Vec::new(),
            reload: Vec::new(),
            authorized_sources: vec!["10.9.0.0/16".into(), "rubbish; reboot".into()],
            programs: Vec::new(),
        };
        let own = pairs(&[
            ("route_x", "10.0.0.1"),
            ("eth0", "10.0.0.2"),
            ("route_x", "fd00::1"),
        ]);
        let tree = pairs(&[("", "10.0.0.1"), ("", "10.0.0.3"), ("", "fd00::3")]);
        let warned = std::cell::RefCell::new(Vec::new());
        let warn = |text: &str| warned.borrow_mut().push(text.to_owned());
        let facts_of = |sla: Option<&TextDict>| facts(&firewall, &own, &tree, sla, &warn);
        let short = |facts: &Facts| -> Vec<String> {
            let rules = rules(facts);
            rules
                .iter()
                .filter_map(|rule| rule.strip_prefix(&format!("{PREFIX} INPUT ")))
                .map(str::to_owned)
                .collect()
        };
        let restricted = facts_of(None);
        assert_eq!(
            short(&restricted),
            [
                "0 -s 10.0.0.3 -d 10.0.0.1 -j ACCEPT",
                "0 -s 10.9.0.0/16 -d 10.0.0.1 -j ACCEPT",
                "1000 -d 10.0.0.1 -j REJECT",
                "900 -d 10.0.0.1 -m state --state ESTABLISHED,RELATED -j REJECT",
            ]
        );
        assert_eq!(rules(&restricted).len(), 8, "INPUT and FORWARD");
        assert_eq!(warned.borrow().len(), 1);
        let mut open = restricted.clone();
        open.restricted = false;
        open.rejected = vec!["8.8.8.8".into()];
        assert_eq!(
            short(&open),
            [
                "800 -s 8.8.8.8 -d 10.0.0.1 -m state --state ESTABLISHED,RELATED -j REJECT",
                "900 -s 8.8.8.8 -d 10.0.0.1 -j REJECT",
                "0 -s 10.0.0.3 -d 10.0.0.1 -j ACCEPT",
                "0 -s 10.9.0.0/16 -d 10.0.0.1 -j ACCEPT",
            ]
        );
    }
}
