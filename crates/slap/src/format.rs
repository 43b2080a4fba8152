//! What a node tells about itself: the document of `node format` (P 6.11, N 5.6).

use crate::document::DocumentError;
use crate::value::Value;
use crate::{NodeId, PartitionId};

/// A node's own description, as far as a Master uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFormat {
    /// The node.
    pub node: NodeId,
    /// Its main address; absent when it has none to tell.
    pub address: Option<String>,
    /// The netmask of that address, in address notation.
    pub netmask: Option<String>,
    /// Its partitions, in the order given.
    pub partitions: Vec<PartitionFormat>,
}

/// A partition in a node's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionFormat {
    /// The partition.
    pub partition: PartitionId,
    /// Name of the interface its addresses are on: its tap, or where it has none its own name.
    pub interface: String,
    /// Its addresses.
    pub addresses: Vec<AddressFormat>,
    /// The address that its tap has behind a gateway; absent where the tap has none.
    pub route: Option<RouteFormat>,
    /// What it can do beyond the ordinary: only requests that name one of these words get it.
    pub capabilities: Vec<String>,
}

/// An IPv4 address that is reached through a gateway (the tap's `ipv4_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFormat {
    /// The tap's name.
    pub interface: String,
    /// The address.
    pub address: String,
    /// The gateway.
    pub gateway: String,
    /// The netmask, in address notation.
    pub netmask: String,
    /// The network.
    pub network: String,
}

/// An address of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressFormat {
    /// The address, IPv4 or IPv6.
    pub address: String,
    /// Its netmask, in address notation; may be empty.
    pub netmask: String,
}

impl NodeFormat {
    /// Reads the marshalled dictionary a node posts; keys a Master does not use are ignored.
    ///
    /// # Errors
    /// [`DocumentError`] when it is no dictionary or a reference in it is unacceptable.
    pub fn from_value(value: &Value) -> Result<Self, DocumentError> {
        let entries = value.as_dict().ok_or_else(|| DocumentError::Unexpected {
            expected: "the description of a compute node",
            found: value.kind().to_owned(),
        })?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let items = |value: Option<&Value>| {
            value
                .and_then(Value::as_sequence)
                .unwrap_or_default()
                .to_vec()
        };
        let partitions = items(entries.get("partition_list"))
            .iter()
            .map(|item| {
                let entries = item.as_dict().ok_or_else(|| DocumentError::Unexpected {
                    expected: "the description of a partition",
                    found: item.kind().to_owned(),
                })?;
                let partition =
                    PartitionId::new(text(entries.get("reference")).unwrap_or_default())?;
                let tap = entries.get("tap").and_then(Value::as_dict);
                let of_tap = |name: &str| {
                    tap.and_then(|tap| text(tap.get(name)))
                        .filter(|text| !text.is_empty())
                };
                let interface = of_tap("name").unwrap_or_else(|| partition.as_str().to_owned());
                Ok(PartitionFormat {
                    route: of_tap("ipv4_addr").map(|address| RouteFormat {
                        interface: interface.clone(),
                        address,
                        gateway: of_tap("ipv4_gateway").unwrap_or_default(),
                        netmask: of_tap("ipv4_netmask").unwrap_or_default(),
                        network: of_tap("ipv4_network").unwrap_or_default(),
                    }),
                    capabilities: items(entries.get("capability_list"))
                        .iter()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                    interface,
                    partition,
                    addresses: items(entries.get("address_list"))
                        .iter()
                        .filter_map(Value::as_dict)
                        .filter_map(|address| {
                            Some(AddressFormat {
                                address: text(address.get("addr"))?,
                                netmask: text(address.get("netmask")).unwrap_or_default(),
                            })
                        })
                        .collect(),
                })
            })
            .collect::<Result<Vec<_>, DocumentError>>()?;
        Ok(NodeFormat {
            node: NodeId::new(text(entries.get("reference")).unwrap_or_default())?,
            address: text(entries.get("address")),
            netmask: text(entries.get("netmask")),
            partitions,
        })
    }
}
