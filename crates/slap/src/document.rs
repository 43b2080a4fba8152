//! The wire's documents, with the field's names: what a Master tells nodes, clients and partitions.
//!
//! Each type knows how to write itself as the wire's object (attributes left `None` are not sent)
//! and how to read itself from what either Master, ERP5 or proxy, sends (P 1.4.2, 1.5).

use std::collections::BTreeMap;

use crate::python;
use crate::reference::ReferenceError;
use crate::state::UnknownState;
use crate::value::{Class, Object, Value};
use crate::{InstallationState, InstanceState, NodeId, PartitionId, ReleaseUrl};

/// Why a value is not the document that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is something else.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What should have come.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// A reference in it is not acceptable.
    #[error("{0}")]
    Reference(#[from] ReferenceError),
    /// A state in it is unknown.
    #[error("{0}")]
    State(#[from] UnknownState),
}

type Attributes = BTreeMap<String, Value>;

/// Text parameters by name, as the wire's dictionaries of text carry them.
pub type TextDict = BTreeMap<String, String>;

fn object<'a>(
    value: &'a Value,
    classes: &[Class],
    expected: &'static str,
) -> Result<&'a Object, DocumentError> {
    value
        .as_object()
        .filter(|object| classes.contains(&object.class))
        .ok_or_else(|| DocumentError::Unexpected {
            expected,
            found: value.as_object().map_or_else(
                || value.kind().to_owned(),
                |object| format!("an object of class {}", object.class.name()),
            ),
        })
}

fn text(attributes: &Attributes, name: &str) -> Option<String> {
    match attributes.get(name) {
        None | Some(Value::None) => None,
        Some(value) => Some(python::str(value)),
    }
}

fn text_dict(attributes: &Attributes, name: &str) -> Option<TextDict> {
    attributes.get(name)?.as_dict().map(|entries| {
        entries
            .iter()
            .map(|(key, value)| match value {
                // An empty text comes back as nothing where it went through the instance XML (P 2).
                Value::None => (key.clone(), String::new()),
                given => (key.clone(), python::str(given)),
            })
            .collect()
    })
}

fn set_text_dict(attributes: &mut Attributes, name: &str, dict: Option<&TextDict>) {
    if let Some(dict) = dict {
        attributes.insert(name.to_owned(), Value::text_dict(dict));
    }
}

/// A compute node as it is told what to do: the whole of `getFullComputerInformation` (P 1.5).
#[derive(Debug, Clone, PartialEq)]
pub struct NodeDocument {
    /// The node.
    pub node: NodeId,
    /// Its partitions, free ones included.
    pub partitions: Vec<PartitionDocument>,
    /// The software releases it shall have, or remove.
    pub installations: Vec<InstallationDocument>,
}

impl NodeDocument {
    /// The wire's object of class `Computer`.
    pub fn to_value(&self) -> Value {
        let node = Value::text(self.node.as_str());
        Value::Object(Box::new(Object {
            class: Class::Computer,
            arguments: vec![node.clone()],
            attributes: Attributes::from([
                ("_computer_id".to_owned(), node),
                (
                    "_computer_partition_list".to_owned(),
                    Value::List(
                        self.partitions
                            .iter()
                            .map(PartitionDocument::to_value)
                            .collect(),
                    ),
                ),
                (
                    "_software_release_list".to_owned(),
                    Value::List(
                        self.installations
                            .iter()
                            .map(InstallationDocument::to_value)
                            .collect(),
                    ),
                ),
            ]),
        }))
    }

    /// Reads the wire's object.
    ///
    /// # Errors
    /// [`DocumentError`] when it is not a `Computer` or a reference or state in it is unacceptable.
    pub fn from_value(value: &Value) -> Result<Self, DocumentError> {
        let object = object(value, &[Class::Computer], "a compute node")?;
        let list = |name: &str| {
            object
                .attributes
                .get(name)
                .and_then(Value::as_sequence)
                .unwrap_or_default()
        };
        Ok(NodeDocument {
            node: NodeId::new(text(&object.attributes, "_computer_id").unwrap_or_default())?,
            partitions: list("_computer_partition_list")
                .iter()
                .map(PartitionDocument::from_value)
                .collect::<Result<_, _>>()?,
            installations: list("_software_release_list")
                .iter()
                .map(InstallationDocument::from_value)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// A software release on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationDocument {
    /// The node.
    pub node: NodeId,
    /// The release.
    pub release: ReleaseUrl,
    /// What shall become of it; absent where the release merely belongs to a partition.
    pub state: Option<InstallationState>,
}

impl InstallationDocument {
    /// What the node shall do: without a word from the Master, keep it (quirk 17).
    pub fn requested_state(&self) -> InstallationState {
        self.state.unwrap_or(InstallationState::Available)
    }

    /// The wire's object of class `SoftwareRelease`.
    pub fn to_value(&self) -> Value {
        let node = Value::text(self.node.as_str());
        let release = Value::text(self.release.as_str());
        let mut attributes = Attributes::from([
            ("_computer_guid".to_owned(), node.clone()),
            (
                "_software_instance_list".to_owned(),
                Value::List(Vec::new()),
            ),
            ("_software_release".to_owned(), release.clone()),
        ]);
        if let Some(state) = self.state {
            attributes.insert("_requested_state".to_owned(), Value::text(state.as_str()));
        }
        Value::Object(Box::new(Object {
            class: Class::SoftwareRelease,
            arguments: vec![release, node],
            attributes,
        }))
    }

    /// Reads the wire's object.
    ///
    /// # Errors
    /// [`DocumentError`] when it is not a `SoftwareRelease` or holds an unacceptable word.
    pub fn from_value(value: &Value) -> Result<Self, DocumentError> {
        let object = object(value, &[Class::SoftwareRelease], "a software release")?;
        let attributes = &object.attributes;
        Ok(InstallationDocument {
            node: NodeId::new(text(attributes, "_computer_guid").unwrap_or_default())?,
            release: ReleaseUrl::new(text(attributes, "_software_release").unwrap_or_default())?,
            state: text(attributes, "_requested_state")
                .map(|state| state.parse())
                .transpose()?,
        })
    }
}

/// How a partition's release is written (quirk 19).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseForm {
    /// As an object of class `SoftwareRelease`: everywhere but in forwarded replies.
    Object(InstallationDocument),
    /// As the URL alone: in forwarded replies.
    Url(ReleaseUrl),
}

impl ReleaseForm {
    /// The release itself.
    pub fn url(&self) -> &ReleaseUrl {
        match self {
            ReleaseForm::Object(installation) => &installation.release,
            ReleaseForm::Url(url) => url,
        }
    }
}

/// A partition of a node and the instance on it, if there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionDocument {
    /// The node.
    pub node: NodeId,
    /// The partition.
    pub partition: PartitionId,
    /// What its instance shall be; a free partition is `destroyed` and has no release (quirk 13).
    pub state: Option<InstanceState>,
    /// The release of its instance.
    pub release: Option<ReleaseForm>,
    /// The wire's `_need_modification`: whether an instance is there.
    pub occupied: Option<bool>,
    /// The instance's reference.
    pub guid: Option<String>,
    /// The instance's parameters together with the Master's own entries (`ip_list`,
    /// `slap_software_type`, `timestamp`, …; P 1.5).
    pub parameters: Option<BTreeMap<String, Value>>,
    /// What the instance published.
    pub connection: Option<TextDict>,
    /// The SLA it was requested with.
    pub sla: Option<TextDict>,
    /// What was last reported about it, such as `#access Instance correctly started`.
    pub access_status: Option<String>,
    /// Any further attributes, as they are (`_master_url`, `_synced`, `slap_computer_id`, …).
    pub further: BTreeMap<String, Value>,
}

impl PartitionDocument {
    /// A document of which nothing is known but its place.
    pub fn new(node: NodeId, partition: PartitionId) -> Self {
        PartitionDocument {
            node,
            partition,
            state: None,
            release: None,
            occupied: None,
            guid: None,
            parameters: None,
            connection: None,
            sla: None,
            access_status: None,
            further: BTreeMap::new(),
        }
    }

    /// Whether no instance is here: no release, and not asked to run (quirk 13).
    pub fn is_free(&self) -> bool {
        self.release.is_none() && matches!(self.state, None | Some(InstanceState::Destroyed))
    }

    /// One of the parameters as text.
    pub fn parameter(&self, name: &str) -> Option<String> {
        text(self.parameters.as_ref()?, name)
    }

    /// The Master's processing timestamp, compared for equality only (P 6.8).
    pub fn timestamp(&self) -> Option<String> {
        self.parameter("timestamp")
    }

    /// The wire's object of class `ComputerPartition`.
    pub fn to_value(&self) -> Value {
        let node = Value::text(self.node.as_str());
        let partition = Value::text(self.partition.as_str());
        let mut attributes = self.further.clone();
        let mut set = |name: &str, value: Value| {
            attributes.insert(name.to_owned(), value);
        };
        set("_computer_id", node.clone());
        set("_partition_id", partition.clone());
        set("_request_dict", Value::None);
        if let Some(guid) = &self.guid {
            set("_instance_guid", Value::text(guid));
        }
        if let Some(occupied) = self.occupied {
            set("_need_modification", Value::Int(occupied.into()));
            let release = match &self.release {
                None => Value::None,
                Some(ReleaseForm::Object(installation)) => installation.to_value(),
                Some(ReleaseForm::Url(url)) => Value::text(url.as_str()),
            };
            set("_software_release_document", release);
        }
        if let Some(state) = self.state {
            set("_requested_state", Value::text(state.as_str()));
        }
        if let Some(parameters) = &self.parameters {
            set("_parameter_dict", Value::Dict(parameters.clone()));
        }
        if let Some(status) = &self.access_status {
            set("_access_status", Value::text(status));
        }
        set_text_dict(
            &mut attributes,
            "_connection_dict",
            self.connection.as_ref(),
        );
        set_text_dict(&mut attributes, "_filter_dict", self.sla.as_ref());
        Value::Object(Box::new(Object {
            class: Class::ComputerPartition,
            arguments: vec![node, partition, Value::None],
            attributes,
        }))
    }

    /// Reads the wire's object.
    ///
    /// # Errors
    /// [`DocumentError`] when it is not a `ComputerPartition` or holds an unacceptable word.
    pub fn from_value(value: &Value) -> Result<Self, DocumentError> {
        let object = object(value, &[Class::ComputerPartition], "a partition")?;
        let attributes = &object.attributes;
        let release = match attributes.get("_software_release_document") {
            None | Some(Value::None) => None,
            Some(Value::String(url)) => Some(ReleaseForm::Url(ReleaseUrl::new(url.clone())?)),
            Some(release) => Some(ReleaseForm::Object(InstallationDocument::from_value(
                release,
            )?)),
        };
        let known = [
            "_computer_id",
            "_partition_id",
            "_request_dict",
            "_instance_guid",
            "_need_modification",
            "_software_release_document",
            "_requested_state",
            "_parameter_dict",
            "_access_status",
            "_connection_dict",
            "_filter_dict",
        ];
        Ok(PartitionDocument {
            node: NodeId::new(text(attributes, "_computer_id").unwrap_or_default())?,
            partition: PartitionId::new(text(attributes, "_partition_id").unwrap_or_default())?,
            state: text(attributes, "_requested_state")
                .map(|state| state.parse())
                .transpose()?,
            release,
            occupied: match attributes.get("_need_modification") {
                Some(Value::Int(number)) => Some(*number != 0),
                Some(Value::Bool(truth)) => Some(*truth),
                _ => None,
            },
            guid: text(attributes, "_instance_guid"),
            parameters: attributes
                .get("_parameter_dict")
                .and_then(Value::as_dict)
                .cloned(),
            connection: text_dict(attributes, "_connection_dict"),
            sla: text_dict(attributes, "_filter_dict"),
            access_status: text(attributes, "_access_status"),
            further: attributes
                .iter()
                .filter(|(name, _)| !known.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }
}

/// An instance as a request answers it (P 1.4.2).
///
/// Either Master's `SoftwareInstance` and the proxy's `ComputerPartition` (P 1.4.4) are read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InstanceDocument {
    /// Where it runs. Empty text with the proxy's short-cuts.
    pub node: String,
    /// In which partition. Any text with the proxy's short-cuts.
    pub partition: String,
    /// Its reference; absent for the proxy's shared instances.
    pub guid: Option<String>,
    /// What it was asked to be; absent for the proxy's shared instances.
    pub state: Option<String>,
    /// Its release.
    pub release: Option<String>,
    /// Its software type.
    pub software_type: Option<String>,
    /// What it published.
    pub connection: TextDict,
    /// Its parameters, with the Master's `timestamp` among them where the proxy answers.
    pub parameters: BTreeMap<String, Value>,
    /// Any further attributes, as they are (`ip_list`, `instance_title`, …).
    pub further: BTreeMap<String, Value>,
}

impl InstanceDocument {
    /// The wire's object of class `SoftwareInstance`.
    pub fn to_value(&self) -> Value {
        let mut attributes = self.further.clone();
        let mut set = |name: &str, text: Option<&String>| {
            if let Some(text) = text {
                attributes.insert(name.to_owned(), Value::text(text));
            }
        };
        set("slap_computer_id", Some(&self.node));
        set("slap_computer_partition_id", Some(&self.partition));
        set("_instance_guid", self.guid.as_ref());
        set("_requested_state", self.state.as_ref());
        set("slap_software_release_url", self.release.as_ref());
        set("slap_software_type", self.software_type.as_ref());
        attributes.insert(
            "_parameter_dict".to_owned(),
            Value::Dict(self.parameters.clone()),
        );
        set_text_dict(&mut attributes, "_connection_dict", Some(&self.connection));
        Value::Object(Box::new(Object {
            class: Class::SoftwareInstance,
            arguments: Vec::new(),
            attributes,
        }))
    }

    /// Reads the wire's object.
    ///
    /// # Errors
    /// [`DocumentError`] when it is no object of the two classes a request may answer.
    pub fn from_value(value: &Value) -> Result<Self, DocumentError> {
        let object = object(
            value,
            &[Class::SoftwareInstance, Class::ComputerPartition],
            "an instance",
        )?;
        let attributes = &object.attributes;
        let known = [
            "slap_computer_id",
            "slap_computer_partition_id",
            "_instance_guid",
            "_requested_state",
            "slap_software_release_url",
            "slap_software_type",
            "_parameter_dict",
            "_connection_dict",
        ];
        let connection = match text_dict(attributes, "_connection_dict") {
            Some(dict) => dict,
            // Old proxies send the stored document only (P 1.4.3).
            None => text(attributes, "connection_xml")
                .and_then(|document| crate::instance_xml::decode(&document).ok())
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, value.unwrap_or_default()))
                .collect(),
        };
        Ok(InstanceDocument {
            node: text(attributes, "slap_computer_id")
                .or_else(|| text(attributes, "_computer_id"))
                .unwrap_or_default(),
            partition: text(attributes, "slap_computer_partition_id")
                .or_else(|| text(attributes, "_partition_id"))
                .unwrap_or_default(),
            guid: text(attributes, "_instance_guid"),
            state: text(attributes, "_requested_state"),
            release: text(attributes, "slap_software_release_url"),
            software_type: text(attributes, "slap_software_type"),
            connection,
            parameters: attributes
                .get("_parameter_dict")
                .and_then(Value::as_dict)
                .cloned()
                .unwrap_or_default(),
            further: attributes
                .iter()
                .filter(|(name, _)| !known.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }
}
