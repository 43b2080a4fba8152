//! What a node tells about itself: `loadComputerConfigurationFromXML` and its JSON form (P 6.11).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use slap::document::TextDict;
use slap::{NodeId, PartitionId, Value, python};

use crate::json_rpc::Input;
use crate::{Fields, Problem};

/// Most partitions of one node.
pub const PARTITIONS_MAX: usize = 10_000;
/// Most addresses, and most capabilities, of one partition.
pub const ADDRESSES_MAX: usize = 100;
/// Longest text about a node or a partition, in characters.
pub const TEXT_CHARS_MAX: usize = 2_000;

/// What a node tells about its machine besides addresses, for people to read.
const ABOUT: [&str; 6] = [
    "instance_root",
    "os_type",
    "public_ipv4_address",
    "python_version",
    "slapos_version",
    "software_root",
];

/// A node's own description, checked: every partition once, every text of a length and kind that can
/// be kept and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// The node, by its own word.
    pub node: NodeId,
    /// Its main address; `None` when it does not tell.
    pub address: Option<String>,
    /// The netmask of that address, in address notation; `None` when it does not tell.
    pub netmask: Option<String>,
    /// Its partitions, in its own order.
    pub partitions: Vec<PartitionDescription>,
    /// What it tells about its machine (`os_type`, `slapos_version` …), under the wire's names.
    pub about: TextDict,
}

/// A partition in a node's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// The partition.
    pub partition: PartitionId,
    /// Its addresses; those reached through a gateway come last.
    pub addresses: Vec<AddressDescription>,
    /// What it can do beyond the ordinary, sorted.
    pub capabilities: BTreeSet<String>,
}

/// An address of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressDescription {
    /// The network interface: the partition's tap, or what the node says; `None` when it says
    /// nothing.
    pub interface: Option<String>,
    /// The address, IPv4 or IPv6.
    pub address: String,
    /// Its netmask, in address notation; may be empty.
    pub netmask: String,
    /// How it is reached, where not directly: it is then told in `full_ip_list` (P 1.5).
    pub route: Option<Route>,
}

/// How an address is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The gateway.
    pub gateway: String,
    /// The network; may be empty.
    pub network: String,
}

impl NodeDescription {
    /// Reads the form of `loadComputerConfigurationFromXML`. Keys a Master does not use are ignored.
    ///
    /// # Errors
    /// 400 when it is no description, or one that cannot be kept.
    pub fn read(form: &Fields<'_>) -> Result<Self, Problem> {
        form.need("xml")?;
        let value = form.value("xml")?;
        let entries = value.as_dict().ok_or_else(|| {
            Problem::bad_request(format!(
                "The field xml: expected the description of a compute node, found {}",
                value.kind()
            ))
        })?;
        let field = |error| Problem::bad_request(format!("The field xml: {error}"));
        let node =
            NodeId::new(text(entries.get("reference")).unwrap_or_default()).map_err(field)?;
        let partitions = sequence(entries.get("partition_list"))
            .iter()
            .take(PARTITIONS_MAX + 1)
            .map(partition)
            .collect::<Result<_, _>>()?;
        // For people only: nothing in it is a reason to refuse a node.
        let about = ABOUT
            .iter()
            .filter_map(|name| {
                let shown: String = match entries.get(*name)? {
                    Value::None => return None,
                    value => python::str(value),
                }
                .chars()
                .filter(|character| is_plain(*character))
                .take(TEXT_CHARS_MAX)
                .collect();
                Some(((*name).to_owned(), shown)).filter(|(_, shown)| !shown.is_empty())
            })
            .collect();
        NodeDescription {
            node,
            address: text(entries.get("address")),
            netmask: text(entries.get("netmask")),
            partitions,
            about,
        }
        .checked()
    }

    /// Reads the input of the JSON call that describes ([`crate::json_rpc::Method::Format`]).
    ///
    /// # Errors
    /// 400 when it cannot be kept.
    pub fn from_json(input: &Input) -> Result<Self, Problem> {
        Self::from_value(input.as_json())
    }

    fn from_value(input: &Json) -> Result<Self, Problem> {
        let text = |object: &Json, name: &str| object.get(name)?.as_str().map(str::to_owned);
        let items = |object: &Json, name: &str| {
            object
                .get(name)
                .and_then(Json::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let address = |item: &Json| AddressDescription {
            interface: text(item, "network-interface"),
            address: text(item, "ip-address").unwrap_or_default(),
            netmask: text(item, "netmask").unwrap_or_default(),
            route: text(item, "gateway-ip-address")
                .zip(text(item, "network-address"))
                .map(|(gateway, network)| Route { gateway, network }),
        };
        let partitions = items(input, "compute_partition_list")
            .iter()
            .take(PARTITIONS_MAX + 1)
            .map(|item| {
                Ok(PartitionDescription {
                    partition: PartitionId::new(text(item, "partition_id").unwrap_or_default())?,
                    addresses: items(item, "ip_list").iter().map(address).collect(),
                    capabilities: BTreeSet::new(),
                })
            })
            .collect::<Result<_, Problem>>()?;
        NodeDescription {
            node: NodeId::new(text(input, "computer_guid").unwrap_or_default())?,
            address: None,
            netmask: None,
            partitions,
            about: TextDict::new(),
        }
        .checked()
    }

    fn checked(self) -> Result<Self, Problem> {
        if self.partitions.len() > PARTITIONS_MAX {
            return Err(unusable(format!(
                "it lists more than {PARTITIONS_MAX} partitions"
            )));
        }
        for text in [&self.address, &self.netmask].into_iter().flatten() {
            if !is_text(text) {
                return Err(unusable(format!("its address is not one: {text:.80?}")));
            }
        }
        let mut seen = BTreeSet::new();
        for partition in &self.partitions {
            let name = &partition.partition;
            if !seen.insert(name) {
                return Err(unusable(format!("it lists the partition {name} twice")));
            }
            for (count, what) in [
                (partition.addresses.len(), "addresses"),
                (partition.capabilities.len(), "capabilities"),
            ] {
                if count > ADDRESSES_MAX {
                    return Err(unusable(format!(
                        "it lists more than {ADDRESSES_MAX} {what} of {name}"
                    )));
                }
            }
            for text in partition
                .addresses
                .iter()
                .flat_map(AddressDescription::texts)
            {
                if !is_text(text) {
                    return Err(unusable(format!(
                        "an address of {name} is not one: {text:.80?}"
                    )));
                }
            }
            for text in &partition.capabilities {
                if !is_text(text) {
                    return Err(unusable(format!(
                        "a capability of {name} is not one: {text:.80?}"
                    )));
                }
            }
        }
        Ok(self)
    }
}

impl AddressDescription {
    fn texts(&self) -> impl Iterator<Item = &String> {
        let route = self
            .route
            .iter()
            .flat_map(|route| [&route.gateway, &route.network]);
        [&self.address, &self.netmask]
            .into_iter()
            .chain(&self.interface)
            .chain(route)
    }
}

fn unusable(detail: String) -> Problem {
    Problem::bad_request(format!(
        "The description of the compute node cannot be used: {detail}"
    ))
}

fn is_text(text: &str) -> bool {
    text.chars().count() <= TEXT_CHARS_MAX && text.chars().all(is_plain)
}

fn is_plain(character: char) -> bool {
    !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}')
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

fn sequence(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_sequence).unwrap_or_default()
}

fn partition(item: &Value) -> Result<PartitionDescription, Problem> {
    let entries = item.as_dict().ok_or_else(|| {
        Problem::bad_request(format!(
            "The field xml: expected the description of a partition, found {}",
            item.kind()
        ))
    })?;
    let partition = PartitionId::new(text(entries.get("reference")).unwrap_or_default())
        .map_err(|error| Problem::bad_request(format!("The field xml: {error}")))?;
    let tap = entries.get("tap").and_then(Value::as_dict);
    let interface = tap
        .and_then(|tap| text(tap.get("name")))
        .filter(|name| !name.is_empty());
    let plain = sequence(entries.get("address_list"))
        .iter()
        .filter_map(Value::as_dict)
        .filter_map(|address| {
            Some(AddressDescription {
                interface: interface.clone(),
                address: text(address.get("addr"))?,
                netmask: text(address.get("netmask")).unwrap_or_default(),
                route: None,
            })
        });
    let routed =
        tap.and_then(|tap| routed(tap, interface.as_deref().unwrap_or(partition.as_str())));
    Ok(PartitionDescription {
        addresses: plain.chain(routed).take(ADDRESSES_MAX + 1).collect(),
        capabilities: sequence(entries.get("capability_list"))
            .iter()
            .filter_map(Value::as_str)
            .filter(|capability| !capability.is_empty())
            .take(ADDRESSES_MAX + 1)
            .map(str::to_owned)
            .collect(),
        partition,
    })
}

/// The address of a tap that has one of its own: it is reached through a gateway, and its interface
/// is called `route_…` so that it is told apart.
fn routed(tap: &BTreeMap<String, Value>, interface: &str) -> Option<AddressDescription> {
    let ipv4 = |what: &str| text(tap.get(&format!("ipv4_{what}"))).unwrap_or_default();
    let address = Some(ipv4("addr")).filter(|address| !address.is_empty())?;
    Some(AddressDescription {
        interface: Some(format!("route_{interface}")),
        address,
        netmask: ipv4("netmask"),
        route: Some(Route {
            gateway: ipv4("gateway"),
            network: ipv4("network"),
        }),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use slap::marshal;

    fn read(value: &Value) -> Result<NodeDescription, Problem> {
        let document = marshal::encode(value).unwrap();
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("xml", &document)
            .finish();
        NodeDescription::read(&Fields::parse(form.as_bytes()))
    }

    fn description(json: &Json) -> Value {
        Value::from(json)
    }

    fn address(interface: &str, address: &str, netmask: &str) -> AddressDescription {
        AddressDescription {
            interface: Some(interface.to_owned()),
            address: address.to_owned(),
            netmask: netmask.to_owned(),
            route: None,
        }
    }

    #[test]
    fn a_description_as_nodes_send_it() {
        let read = read(&description(&json!({
            "address": "10.0.0.9", "netmask": null, "reference": "COMP-1",
            "os_type": "[\"linux\"]", "python_version": null, "slapos_version": "1.26",
            "interface": {"name": "lo"}, "tap_ipv6": false,
            "partition_list": [
                {"reference": "slappart0", "capability_list": ["b", "a", "a", ""],
                 "address_list": [{"addr": "10.0.0.1", "netmask": "255.255.255.255"},
                                  {"addr": "fd00::1"}, {"netmask": "no address"}],
                 "tap": {"name": "slaptap0", "ipv4_addr": "10.1.0.2", "ipv4_gateway": "10.1.0.1",
                         "ipv4_netmask": "255.255.0.0", "ipv4_network": "10.1.0.0",
                         "ipv6_addr": ""}},
                {"reference": "slappart1", "address_list": [{"addr": "::1", "netmask": "x"}],
                 "tap": {"name": "", "ipv4_addr": ""}},
            ],
        })))
        .unwrap();
        let routed = AddressDescription {
            route: Some(Route {
                gateway: "10.1.0.1".to_owned(),
                network: "10.1.0.0".to_owned(),
            }),
            ..address("route_slaptap0", "10.1.0.2", "255.255.0.0")
        };
        assert_eq!(
            read,
            NodeDescription {
                node: NodeId::new("COMP-1").unwrap(),
                address: Some("10.0.0.9".to_owned()),
                netmask: None,
                partitions: vec![
                    PartitionDescription {
                        partition: PartitionId::new("slappart0").unwrap(),
                        addresses: vec![
                            address("slaptap0", "10.0.0.1", "255.255.255.255"),
                            address("slaptap0", "fd00::1", ""),
                            routed,
                        ],
                        capabilities: ["a", "b"].map(str::to_owned).into(),
                    },
                    PartitionDescription {
                        partition: PartitionId::new("slappart1").unwrap(),
                        addresses: vec![AddressDescription {
                            interface: None,
                            ..address("", "::1", "x")
                        }],
                        capabilities: BTreeSet::new(),
                    },
                ],
                about: [("os_type", "[\"linux\"]"), ("slapos_version", "1.26")]
                    .map(|(name, text)| (name.to_owned(), text.to_owned()))
                    .into(),
            }
        );
    }

    #[test]
    fn the_json_form() {
        let read = NodeDescription::from_value(&json!({
            "computer_guid": "COMP-1",
            "compute_partition_list": [
                {"partition_id": "p0", "ip_list": [
                    {"ip-address": "::1", "network-interface": "tap0", "netmask": "m"},
                    {"ip-address": "10.0.0.2", "gateway-ip-address": "10.0.0.1",
                     "network-address": "10.0.0.0"},
                ]},
                {"partition_id": "p1"},
            ],
        }))
        .unwrap();
        assert_eq!(read.partitions.len(), 2);
        let addresses = &read.partitions[0].addresses;
        assert_eq!(addresses[0], address("tap0", "::1", "m"));
        assert_eq!(addresses[1].interface, None);
        assert_eq!(addresses[1].route.as_ref().unwrap().gateway, "10.0.0.1");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let many = |count: usize, item: Json| Json::Array(vec![item; count]);
        for (given, message) in [
            (
                json!([]),
                "expected the description of a compute node, found a list",
            ),
            (json!({}), "a compute node's reference is empty"),
            (
                json!({"reference": "C", "partition_list": [1]}),
                "expected the description of a partition, found an integer",
            ),
            (
                json!({"reference": "C", "partition_list": [{"reference": "a/b"}]}),
                "cannot be the name of a directory",
            ),
            (
                json!({"reference": "C", "partition_list": [{"reference": "p"}, {"reference": "p"}]}),
                "it lists the partition p twice",
            ),
            (
                json!({"reference": "C", "partition_list": [
                    {"reference": "p", "address_list": [{"addr": "a\nb"}]}]}),
                "an address of p is not one",
            ),
            (
                json!({"reference": "C", "partition_list": [
                    {"reference": "p", "address_list": many(101, json!({"addr": "a"}))}]}),
                "more than 100 addresses of p",
            ),
            (
                json!({"reference": "C", "partition_list": many(10_001, json!({"reference": "p"}))}),
                "more than 10000 partitions",
            ),
            (
                json!({"reference": "C", "address": "x".repeat(2_001)}),
                "its address is not one",
            ),
        ] {
            let error = read(&description(&given)).unwrap_err();
            assert!(error.text.contains(message), "{}", error.text);
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let keys = proptest::sample::select(vec![
            "reference",
            "partition_list",
            "address_list",
            "addr",
            "tap",
            "name",
            "ipv4_addr",
            "capability_list",
            "os_type",
            "computer_guid",
            "compute_partition_list",
            "partition_id",
            "ip_list",
            "ip-address",
        ]);
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<i32>().prop_map(Json::from),
            "[a-c/]{0,3}".prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                proptest::collection::vec((keys.clone(), inner), 0..6).prop_map(|pairs| {
                    pairs
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(json in any_json()) {
            let _ = read(&description(&json));
            let _ = NodeDescription::from_value(&json);
        }
    }
}
