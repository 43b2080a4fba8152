//! What the Master knows: nodes, partitions, instances.

use std::collections::BTreeMap;

use slap::document::TextDict;
use slap::{InstanceState, NodeId, PartitionId, Value, python};
use slap_server::parameters;

use super::Timestamp;

/// An instance's number in the store. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub i64);

/// A partition of a node, by its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Its partition. Two nodes may well have partitions of the same name.
    pub partition: PartitionId,
}

impl From<(NodeId, PartitionId)> for Place {
    fn from((node, partition): (NodeId, PartitionId)) -> Self {
        Place { node, partition }
    }
}

impl Place {
    /// The proxy's reference for whatever occupies the partition (P 1.4.2, quirk 29).
    pub fn guid(&self) -> String {
        format!("{}-{}", self.node, self.partition)
    }
}

/// An address of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The network interface it is on.
    pub interface: String,
    /// The address, IPv4 or IPv6.
    pub address: String,
    /// Its netmask, in address notation; may be empty.
    pub netmask: String,
    /// The gateway and the network, where the node told them (P 1.5, `full_ip_list`).
    pub route: Option<(String, String)>,
}

/// The parameters an instance was requested with.
///
/// Those of ordinary instances are flattened to text as the wire demands (quirk 8); those of shared
/// ones reach their host with their types (P 6.7).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters(pub BTreeMap<String, Value>);

impl Parameters {
    /// Takes parameters in: as text, or when `typed`, with the types JSON has.
    ///
    /// # Errors
    /// A text that says why they could not be sent to a partition later.
    pub fn new(given: BTreeMap<String, Value>, typed: bool) -> Result<Self, String> {
        let parameters = if typed {
            // What is stored is what is compared: only what survives JSON is kept.
            match Value::from(&Value::Dict(given).to_json()) {
                Value::Dict(entries) => Parameters(entries),
                _ => Parameters::default(),
            }
        } else {
            Parameters(given).flattened()
        };
        parameters::check(&parameters.0)?;
        Ok(parameters)
    }

    /// Takes parameters in that are text already.
    ///
    /// # Errors
    /// A text that says why they could not be sent to a partition later.
    pub fn from_texts(given: TextDict) -> Result<Self, String> {
        parameters::check_texts(&given)?;
        Ok(Self::of_texts(given))
    }

    fn of_texts(texts: TextDict) -> Self {
        Self(
            texts
                .into_iter()
                .map(|(key, text)| (key, Value::String(text)))
                .collect(),
        )
    }

    /// The same with every value as text.
    #[must_use]
    pub fn flattened(self) -> Self {
        Self::of_texts(parameters::flattened(self.0))
    }

    /// As the wire shows them: all text, and nothing where the text is empty, since they pass
    /// through the instance XML (P 2).
    pub fn as_shown(&self) -> BTreeMap<String, Value> {
        self.0
            .iter()
            .map(|(key, value)| (key.clone(), shown(value)))
            .collect()
    }

    /// As text, for the instance XML.
    pub fn as_text(&self) -> TextDict {
        self.0
            .iter()
            .map(|(key, value)| (key.clone(), python::str(value)))
            .collect()
    }
}

/// One value as it comes out of the instance XML: text, or nothing where it is empty.
fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => Value::None,
        Value::String(text) => Value::String(text.clone()),
        other => Value::String(python::str(other)),
    }
}

/// An instance: one running use of a release, or a shared instance served by another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its number.
    pub id: InstanceId,
    /// Its title, unique in its tree among its kind.
    pub title: String,
    /// The title of its tree's root; equal to its own title when it is the root.
    pub root_title: String,
    /// Whether it is the root of its tree.
    pub is_root: bool,
    /// Whether it is served by another instance instead of having a partition.
    pub shared: bool,
    /// A shared instance's reference, as its host knows it. It survives renames.
    pub reference: Option<String>,
    /// The release.
    pub release: String,
    /// The software type.
    pub software_type: String,
    /// What it shall be.
    pub state: InstanceState,
    /// What it was requested with.
    pub parameters: Parameters,
    /// Where it may be placed.
    pub sla: Parameters,
    /// What it published; `None` before it ever did.
    pub connection: Option<TextDict>,
    /// When it last changed.
    pub timestamp: Timestamp,
    /// Its partition, or for a shared instance its host's. `None` for a shared one without a host.
    pub place: Option<Place>,
    /// The addresses of that partition.
    pub addresses: Vec<Address>,
}

/// A partition with what is on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// Which one.
    pub place: Place,
    /// The instance on it.
    pub instance: Option<Instance>,
    /// The shared instances its instance serves, in the order they came; stopped ones left out.
    pub shared: Vec<Instance>,
}

/// A compute node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its reference.
    pub node: NodeId,
    /// Its main address.
    pub address: Option<String>,
    /// The netmask of that address.
    pub netmask: Option<String>,
}

/// The reference under which a host knows a shared instance (P 6.7).
///
/// `root` is the title of the requester's tree, `None` when a person requested it.
pub fn shared_reference(root: Option<&str>, title: &str) -> String {
    format!("{}_{title}", root.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_flatten_and_show_as_the_instance_xml_does() {
        let given = Parameters(BTreeMap::from([
            ("empty".into(), Value::text("")),
            ("n".into(), Value::Int(1)),
            ("none".into(), Value::None),
            ("t".into(), Value::Bool(true)),
        ]));
        let shown = BTreeMap::from([
            ("empty".into(), Value::None),
            ("n".into(), Value::text("1")),
            ("none".into(), Value::text("None")),
            ("t".into(), Value::text("True")),
        ]);
        assert_eq!(given.as_shown(), shown);
        assert_eq!(given.flattened().as_shown(), shown);
    }
}
