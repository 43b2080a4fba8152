//! The description of the machine: from its state file, from a definition file, or fresh (N 5.1,
//! 5.2, 5.6). No I/O.
//!
//! Partitions are kept as the values of the state file: whatever an earlier format, ours or
//! upstream's, decided for a partition stays as it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use slap::config::Config;
use slap::{PartitionId, Value};

use super::config::FormatConfig;

/// The machine as far as it does not depend on the moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Machine {
    pub(crate) address: Option<String>,
    pub(crate) netmask: Option<String>,
    pub(crate) software_user: String,
    pub(crate) partitions: Vec<Slot>,
}

/// A partition: its name and its whole description.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) reference: PartitionId,
    pub(crate) description: BTreeMap<String, Value>,
}

pub(crate) const FULL_MASK_V4: &str = "255.255.255.255";
const FULL_MASK_V6: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

impl Machine {
    /// The machine with its partitions completed to the configured number. New ones get loopback
    /// addresses, since nothing may be added to the network.
    pub(crate) fn complete(
        stored: Option<Machine>,
        config: &FormatConfig,
    ) -> Result<Machine, String> {
        let mut machine = stored.unwrap_or_else(|| Machine {
            address: None,
            netmask: None,
            software_user: config.software_user.clone(),
            partitions: Vec::new(),
        });
        let (stored, wanted) = (machine.partitions.len(), config.partition_amount);
        if stored > wanted {
            return Err(format!(
                "there are {stored} partitions already and partition_amount is {wanted}: partitions \
                 are never removed; set partition_amount to at least {stored}"
            ));
        }
        for index in stored..wanted {
            let reference = format!("{}{index}", config.partition_base_name);
            let reference = PartitionId::new(reference).map_err(|error| error.to_string())?;
            if machine
                .partitions
                .iter()
                .any(|other| other.reference == reference)
            {
                return Err(format!(
                    "partition {reference} exists twice; was partition_base_name changed?"
                ));
            }
            machine.partitions.push(Slot::new(
                reference,
                &[("127.0.0.1", FULL_MASK_V4), ("::1", FULL_MASK_V6)],
                &format!("{}{index}", config.user_base_name),
                &format!("{}{index}", config.tap_base_name),
                &machine.software_user,
            ));
        }
        for slot in &mut machine.partitions {
            slot.place(config, &machine.software_user);
        }
        Ok(machine)
    }

    /// Reads the value of a state file.
    pub(crate) fn from_value(value: &Value) -> Result<Machine, String> {
        let entries = value.as_dict().ok_or("it does not describe a machine")?;
        let text = |name: &str| {
            entries
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let partitions = entries
            .get("partition_list")
            .and_then(Value::as_sequence)
            .ok_or("it has no list of partitions")?;
        let partitions = partitions
            .iter()
            .map(|value| {
                let description = value
                    .as_dict()
                    .ok_or("a partition is not described")?
                    .clone();
                let reference = description
                    .get("reference")
                    .and_then(Value::as_str)
                    .ok_or("a partition has no reference")?;
                Ok(Slot {
                    reference: PartitionId::new(reference).map_err(|error| error.to_string())?,
                    description,
                })
            })
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Machine {
            address: text("address"),
            netmask: text("netmask"),
            software_user: text("software_user").unwrap_or_else(|| "slapsoft".to_owned()),
            partitions,
        })
    }

    /// Reads a definition file (N 5.2).
    pub(crate) fn from_definition(
        definition: &Config,
        config: &FormatConfig,
    ) -> Result<Machine, String> {
        let get = |section: &str, option: &str| {
            definition
                .get_raw(section, option)
                .map(str::trim)
                .filter(|value| !value.is_empty())
        };
        let address = get("computer", "address").map(split_address).transpose()?;
        let software_user = get("computer", "software_user").unwrap_or(&config.software_user);
        let mut machine = Machine {
            address: address.map(|(address, _)| address.to_owned()),
            netmask: address.map(|(_, netmask)| netmask.to_owned()),
            software_user: software_user.to_owned(),
            partitions: Vec::new(),
        };
        for index in 0..config.partition_amount {
            let section = format!("partition_{index}");
            let need = |option: &str| {
                get(&section, option)
                    .ok_or_else(|| format!("option `{option}` is missing from section [{section}]"))
            };
            let reference = PartitionId::new(need("pathname")?)
                .map_err(|error| format!("[{section}]: {error}"))?;
            let addresses = need("address")?
                .split_whitespace()
                .map(split_address)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| format!("[{section}]: {error}"))?;
            let tap = get(&section, "network_interface").unwrap_or_default();
            let mut slot = Slot::new(reference, &addresses, need("user")?, tap, software_user);
            if let Some(range) = get(&section, "ipv6_range") {
                let range = ipv6_range(range).map_err(|error| format!("[{section}]: {error}"))?;
                slot.description.insert("ipv6_range".to_owned(), range);
            }
            if let Some(list) = get(&section, "capability_list") {
                let list = slap::config::lines(list).map(Value::text).collect();
                slot.description
                    .insert("capability_list".to_owned(), Value::List(list));
            }
            if machine
                .partitions
                .iter()
                .any(|other| other.reference == slot.reference)
            {
                return Err(format!(
                    "[{section}]: pathname {} is used twice",
                    slot.reference
                ));
            }
            machine.partitions.push(slot);
        }
        Ok(machine)
    }

    /// A definition file that describes this machine.
    pub(crate) fn to_definition(&self) -> String {
        let mut out = String::from("[computer]\n");
        if let (Some(address), Some(netmask)) = (&self.address, &self.netmask) {
            out.push_str(&format!("address = {address}/{netmask}\n"));
        }
        out.push_str(&format!("software_user = {}\n", self.software_user));
        for (index, slot) in self.partitions.iter().enumerate() {
            out.push_str(&format!(
                "\n[partition_{index}]\naddress = {}\nuser = {}\nnetwork_interface = {}\npathname = {}\n",
                slot.addresses().join(" "),
                slot.text(&["user", "name"]),
                slot.text(&["tap", "name"]),
                slot.reference
            ));
            if let Some(range) = slot.range_network() {
                out.push_str(&format!("ipv6_range = {range}\n"));
            }
        }
        out
    }

    /// The machine as it is stored and told to the Master (N 5.6).
    pub(crate) fn to_value(&self, config: &FormatConfig, os_type: &str) -> Value {
        let text = |text: &Option<String>| text.as_ref().map_or(Value::None, Value::text);
        let path = |path: &std::path::Path| Value::text(path.display().to_string());
        let network = &config.network;
        let interface = if config.alter_network {
            Value::dict([
                ("ipv4_local_network", text(&network.ipv4_local_network)),
                (
                    "ipv6_interface",
                    config.ipv6_interface().map_or(Value::None, Value::text),
                ),
                (
                    "ipv6_prefixshift",
                    Value::Int(network.ipv6_prefixshift.into()),
                ),
                ("name", text(&network.interface_name)),
            ])
        } else {
            Value::None
        };
        Value::dict([
            ("address", text(&self.address)),
            ("instance_root", path(&config.instance_root)),
            (
                "instance_storage_home",
                config
                    .instance_storage_home
                    .as_deref()
                    .map_or(Value::None, path),
            ),
            ("interface", interface),
            ("ipv6_interface", text(&network.ipv6_interface)),
            ("netmask", text(&self.netmask)),
            ("os_type", Value::text(os_type)),
            (
                "partition_has_ipv6_range",
                Value::Bool(network.partition_has_ipv6_range),
            ),
            (
                "partition_list",
                Value::List(self.partitions.iter().map(Slot::to_value).collect()),
            ),
            ("public_ipv4_address", Value::None),
            ("python_version", Value::None),
            ("reference", Value::text(config.node.as_str())),
            ("slapos_version", Value::text(env!("CARGO_PKG_VERSION"))),
            ("software_root", path(&config.software_root)),
            ("software_user", Value::text(&self.software_user)),
            (
                "tap_gateway_interface",
                Value::text(network.tap_gateway_interface.as_deref().unwrap_or_default()),
            ),
            ("tap_ipv6", Value::Bool(network.tap_ipv6)),
        ])
    }
}

impl Slot {
    fn new(
        reference: PartitionId,
        addresses: &[(&str, &str)],
        user: &str,
        tap: &str,
        software_user: &str,
    ) -> Slot {
        let addresses = addresses.iter().map(|(address, netmask)| {
            Value::dict([
                ("addr", Value::text(*address)),
                ("netmask", Value::text(*netmask)),
            ])
        });
        let mut interface: BTreeMap<String, Value> = ["ipv4", "ipv6"]
            .iter()
            .flat_map(|family| {
                ["addr", "gateway", "netmask", "network"]
                    .map(|what| (format!("{family}_{what}"), Value::text("")))
            })
            .collect();
        interface.insert("name".to_owned(), Value::text(tap));
        let user = Value::dict([
            (
                "additional_group_list",
                Value::List(vec![Value::text(software_user)]),
            ),
            ("name", Value::text(user)),
            ("shell", Value::text("/bin/sh")),
        ]);
        let description = [
            ("address_list", Value::List(addresses.collect())),
            ("external_storage_list", Value::List(Vec::new())),
            ("ipv6_range", Value::Dict(BTreeMap::new())),
            ("reference", Value::text(reference.as_str())),
            ("tap", Value::Dict(interface)),
            ("tun", Value::None),
            ("user", user),
        ];
        Slot {
            reference,
            description: description
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }

    /// Fills in what follows from where the partition is.
    pub(crate) fn place(&mut self, config: &FormatConfig, software_user: &str) {
        let path = config.instance_root.join(self.reference.as_str());
        let path = Value::text(path.display().to_string());
        self.description.insert("path".to_owned(), path.clone());
        let user = self.description.entry("user".to_owned()).or_default();
        if let Value::Dict(user) = user {
            user.insert("path".to_owned(), path);
            user.entry("additional_group_list".to_owned())
                .or_insert_with(|| Value::List(vec![Value::text(software_user)]));
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        Value::Dict(self.description.clone())
    }

    /// Its addresses, each as `<address>/<netmask>`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.address_pairs()
            .into_iter()
            .map(|(address, netmask)| format!("{address}/{netmask}"))
            .collect()
    }

    /// Its addresses and their netmasks.
    pub(crate) fn address_pairs(&self) -> Vec<(String, String)> {
        let list = self.description.get("address_list");
        list.and_then(Value::as_sequence)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_dict)
            .map(|entry| {
                let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
                (text("addr").to_owned(), text("netmask").to_owned())
            })
            .collect()
    }

    /// Replaces its addresses; where they are the same, their order stays.
    pub(crate) fn set_addresses(&mut self, addresses: &[(String, String)]) {
        let old = self.address_pairs();
        if old.len() == addresses.len() && addresses.iter().all(|new| old.contains(new)) {
            return;
        }
        let list = addresses.iter().map(|(address, netmask)| {
            Value::dict([
                ("addr", Value::text(address)),
                ("netmask", Value::text(netmask)),
            ])
        });
        let list = Value::List(list.collect());
        self.description.insert("address_list".to_owned(), list);
    }

    /// Its directories on further disks.
    pub(crate) fn external_storage(&self) -> Vec<PathBuf> {
        let list = self.description.get("external_storage_list");
        list.and_then(Value::as_sequence)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .map(PathBuf::from)
            .collect()
    }

    /// Gives it a directory on each of these disks.
    pub(crate) fn set_external_storage(&mut self, homes: &[PathBuf]) {
        let path = |home: &PathBuf| home.join(self.reference.as_str()).display().to_string();
        let list = homes.iter().map(|home| Value::text(path(home))).collect();
        let list = Value::List(list);
        self.description
            .insert("external_storage_list".to_owned(), list);
    }

    /// Its delegated range as `<address>/<length>`.
    pub(crate) fn range_network(&self) -> Option<String> {
        let text = self.text(&["ipv6_range", "network"]);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Name of its unix user.
    pub(crate) fn user(&self) -> &str {
        self.text(&["user", "name"])
    }

    /// Sets a text in one of its parts, such as `tap`.
    pub(crate) fn set(&mut self, part: &str, name: &str, text: &str) {
        if let Some(Value::Dict(part)) = self.description.get_mut(part) {
            part.insert(name.to_owned(), Value::text(text));
        }
    }

    pub(crate) fn text(&self, path: &[&str]) -> &str {
        let mut entries = &self.description;
        let Some((last, before)) = path.split_last() else {
            return "";
        };
        for name in before {
            let Some(Value::Dict(inner)) = entries.get(*name) else {
                return "";
            };
            entries = inner;
        }
        entries
            .get(*last)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

fn split_address(text: &str) -> Result<(&str, &str), String> {
    let (address, netmask) = text
        .split_once('/')
        .ok_or_else(|| format!("`{text}` is not <address>/<netmask>"))?;
    if address.parse::<IpAddr>().is_err() {
        return Err(format!("`{address}` is not an IP address"));
    }
    if netmask.parse::<IpAddr>().is_err() {
        return Err(format!(
            "`{netmask}` is not a netmask in address notation, such as {FULL_MASK_V4}"
        ));
    }
    Ok((address, netmask))
}

fn ipv6_range(text: &str) -> Result<Value, String> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        let length: u32 = length.parse().ok().filter(|length| *length <= 128)?;
        Some((address, length))
    });
    let (address, length) =
        parsed.ok_or_else(|| format!("ipv6_range `{text}` is not <IPv6 address>/<length>"))?;
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    Ok(Value::dict([
        ("addr", Value::text(address.to_string())),
        (
            "netmask",
            Value::text(std::net::Ipv6Addr::from(mask).to_string()),
        ),
        ("network", Value::text(text)),
        ("prefixlen", Value::Int(length.into())),
    ]))
}
